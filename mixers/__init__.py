"""Mixing: curves, plans, sampling, tokenization and shards. Never trains, never imports Spark."""
