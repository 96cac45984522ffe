"""The demo: gives a real English LLM Vietnamese on two CPU cores, from text and packages."""
