"""Two vocabularies put together: which token is which, and rows for what the PLM lacks."""
