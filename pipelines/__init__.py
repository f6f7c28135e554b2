"""How the nightly run works: one room per step, wired to Dagster only in `components` and `definitions`."""
