"""How new rows are made: SALT and its rivals."""
