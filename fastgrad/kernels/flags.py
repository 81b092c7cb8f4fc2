"""Bits by which Python tells the entry points what to do. Importing this imports nothing."""

# For any entry point.
COLUMNS = 1  # samples are columns: the first axis of a matrix is a sample's
UNCHECKED = 2  # outputs are a user's: the kernel checks whether it can write to them
# For `dense_forward`.
PIECE = 64  # only some of a layer's outputs: even a single one is computed as one of several
# For `apply`.
ELEMENTWISE = 4  # each element is computed by itself, in any memory order
ONES = 8  # grad_y is not read: ones are used instead
# For `apply_loss`.
PER_SAMPLE = 16  # one term per sample, and a target may be one class per sample
WANT_GRAD = 32
PROBABILITIES = 64  # the target must be between 0 and 1
SUM, SAMPLES = 1, 2  # how terms are reduced, as losses.REDUCTIONS counts them; 0 is the mean
TARGET_SLACK = 2.0**-20  # by this much they may be outside: sums of probabilities are rounded

MARK_SAMPLES = 64  # elements that tell whether an output has changed
# What `dense_backward` computes.
WANT_X, WANT_W, WANT_B, WANT_Z = 1, 2, 4, 8
ACCUMULATE = 16  # to grad_w and grad_b
ADD_X = 32  # also accumulate to a given grad_x: for small layers only
# What the way back through a network computes, and adds to what is there.
WANT_GRADIENT, WANT_INPUTS, ADD_GRADIENT, ADD_INPUTS = 1, 2, 4, 8
