"""The verbs that only look: a pair before, a directory after, a row inside."""
