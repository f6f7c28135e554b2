"""What leaves the house: the public edition, its files, and the swap that publishes them in one step.

Nothing in this room opens internal files or the history; it is handed the public observation and the declarations.
"""
