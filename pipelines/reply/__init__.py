"""What a sender is told about a delivery: findings in order of importance, the rows themselves, page, table, letter."""
