"""The Sozialraumbericht: static pages for planners, written from the public DuckDB file and the declarations alone."""
