"""Deduplication: exact, MinHash, substring. Arrays in, decisions out. No Spark, no files."""
