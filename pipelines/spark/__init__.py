"""Runs the SQL of the marts on Apache Spark instead of DuckDB; pyspark is imported only when it is used."""
