"""Formulas and the row kernels made of them: activations, losses, reductions."""
