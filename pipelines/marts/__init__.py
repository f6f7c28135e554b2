"""Builds the marts: one SELECT per table, from scratch, into one DuckDB file per edition (internal or public)."""
