"""What the options of ``saltlm merge`` may be; the first is the default."""

MERGE_METHODS = ("linear", "slerp", "chat-vector")
SPECIAL_ROWS = ("base", "adapted")
SHARED_ROWS = ("adapted", "merged", "base")
