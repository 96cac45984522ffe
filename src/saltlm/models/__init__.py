"""A model directory: found, read tensor by tensor, written like another."""
