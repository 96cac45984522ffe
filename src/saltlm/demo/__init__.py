"""The demo: a real English LLM is given German on two CPU cores, from packages and text anyone can get."""
