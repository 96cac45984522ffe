"""Language-adaptive continual pre-training: SALT's step 5, as ``saltlm adapt``."""
