"""What every folder shares: documents, corpora, views, readers, writers, configuration, errors, the command line."""
