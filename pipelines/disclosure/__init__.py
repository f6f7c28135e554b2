"""Disclosure control: which cells must not be published so that nobody can work out the small ones."""
