"""Text in, files out: documents, atomic writes, hashes."""
