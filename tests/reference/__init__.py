"""Project folders that recalculate official and third-party results; read by the tests and scripts/reproduction.py."""
