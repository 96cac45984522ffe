"""SALT step 5: continued pre-training."""
