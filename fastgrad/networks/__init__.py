"""Whole networks: `MLP`, the plan made of its settings, its passes, and training."""
