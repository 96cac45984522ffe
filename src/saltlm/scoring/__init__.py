"""How well a method predicts held-out shared rows, without training."""
