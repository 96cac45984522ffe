"""The demo: gives a real English LLM German on two CPU cores, from text and packages at hand."""
