"""The table that drives an optimizer's kernel: what each of its words holds.

A table is all arrays of one dtype that one step updates: a row each, behind the settings. For
`MLP.fit` that is the flat vector, for ``step`` every array of a script. Imports no Numba.
"""

from __future__ import annotations

(
    KERNEL,  # address of the kernel, which is called with the table's address
    NEXT,  # address of the table of arrays of another dtype, or 0
    ROWS,
    STEPS,  # done so far
    BUSY,  # whether a call is under way that has released Python's lock
    SPANS, COUNT,  # address of (start, end) of each array that is updated, sorted; how many
    RATES, FIRST_RATE,  # address of float64 learning rates, or 0; the step of the first of them
    SETTINGS,  # float64, in the order in which an optimizer's class names them; then its powers
) = range(10)  # fmt: skip
HEADER = 24
(
    PARAMS, GRAD,  # addresses
    ELEMENTS,
    DECAYS,  # whether the weight decay is for this array
    VECTORS,  # addresses of what the optimizer remembers of it, at most four
) = range(5)  # fmt: skip
# Words of rows of ``step``: what an array must be like to be accepted.
(
    PLACE,  # in the tuples of arrays
    DTYPE, SIZE,  # address of NumPy's object; bytes of an element
    ORDER,  # the flag of an array that is contiguous in the order of the vectors
    SHAPE,  # address of the number of axes, then their lengths
    ROW,
) = range(VECTORS + 4, VECTORS + 10)  # fmt: skip
