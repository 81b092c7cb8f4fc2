"""What `fastgrad.MLP` and its twins have in common: settings, the flat vector, training."""
