"""Bits by which Python tells the entry points what to do. Importing this imports nothing."""

# Beside the arrays of any entry point.
COLUMNS = 1  # samples are columns: the first axis of a matrix is a sample's
UNCHECKED = 2  # outputs are a user's: the kernel looks whether it can write to them
# Of `dense_forward`.
PIECE = 64  # these outputs are some of a layer's: even one is computed as one of several
# Of `apply`.
ELEMENTWISE = 4  # each element is computed by itself, in whatever order they lie
ONES = 8  # grad_y is not looked at and stands for ones
# Of `apply_loss`.
PER_SAMPLE = 16  # one term per sample, and a target may be one class per sample
WANT_GRAD = 32
PROBABILITIES = 64  # the target must lie between 0 and 1
SUM, SAMPLES = 1, 2  # how terms are reduced, as losses.REDUCTIONS counts them; 0 is the mean
TARGET_SLACK = 2.0**-20  # outside of that: sums of probabilities are rounded

MARK_SAMPLES = 64  # elements that tell whether an output has changed
# What `dense_backward` is to compute.
WANT_X, WANT_W, WANT_B, WANT_Z = 1, 2, 4, 8
ACCUMULATE = 16  # to grad_w and grad_b
ADD_X = 32  # accumulate to a given grad_x, too: of small layers only
