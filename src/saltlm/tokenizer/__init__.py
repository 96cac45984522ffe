"""One tokenizer: its definition, its tokens, its special tokens, and the edits of it."""
