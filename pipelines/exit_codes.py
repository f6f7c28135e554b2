"""Exit codes of the command `sozialraum`; the README explains them to its users."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_WELL = 3
EXIT_RECOVERABLE = 4
EXIT_BUSY = 5
