"""What was known and said earlier: rebuilding the past, taking a release back, removing a delivery's bytes."""
