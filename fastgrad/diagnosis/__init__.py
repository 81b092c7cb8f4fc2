"""Finding the mistake in a gradient: which array is wrong, where the mistake enters, what it is.

`diagnose` is the call and `report` what it returns. `outside` compares the gradients of any loss
with differences.
"""
