"""From a text to an LLM that has its language, in one command; and the demo."""
