"""What changed between two public releases, and whether so much changed that nobody should believe it."""
