"""Spark jobs, the runner of recipes and the session they share. The only folder that imports pyspark."""
