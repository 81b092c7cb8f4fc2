"""Finding the mistake in a gradient: which array is wrong, where the mistake enters, what it is.

`diagnose` is the call and `report` what it returns. `outside` compares the gradients of any loss
with differences: `calls` watches what calls do, `look` compares an array, a `sample` of a large
one. What a wrong array's relation to the right one is, `gradcheck.relations` finds out.
"""
