"""SALT steps 1 to 4 on two models."""
