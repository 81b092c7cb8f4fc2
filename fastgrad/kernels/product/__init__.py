"""Matrix products: the register tile, packing and blocking, thin and single outputs."""
