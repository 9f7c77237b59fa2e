"""Taggers: a batch of documents in, a batch of attributes out. No Spark, no files."""
