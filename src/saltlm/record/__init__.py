"""What a directory says of how it was made: provenance, manifest, card."""
