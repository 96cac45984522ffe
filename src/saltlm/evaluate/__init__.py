"""Measurements that compare models and tokenizers on raw text, whatever their vocabularies."""
