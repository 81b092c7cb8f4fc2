"""What a network's plan runs: its stages, in one call, and the optimizers' steps."""
