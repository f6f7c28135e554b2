"""Where a figure comes from: the cells and parts behind it, and the page that explains it."""
