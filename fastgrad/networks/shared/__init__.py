"""What `fastgrad.MLP` and its twins share: settings, the flat vector, training."""
