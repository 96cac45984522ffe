"""A small PLM trained from nothing, for languages that have none."""
