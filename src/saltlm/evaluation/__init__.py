"""Measurements of a model, and models side by side."""
