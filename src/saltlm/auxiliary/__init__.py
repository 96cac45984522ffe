"""Where tokens lie when neighbours are sought: PLM rows, fastText, word2vec."""
