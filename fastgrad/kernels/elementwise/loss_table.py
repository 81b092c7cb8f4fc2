"""A call of a detailed loss kernel (`loss_terms`): what each word of its table holds.

Detailed kernels do what the plain ones (`loss`) leave out: weights, the terms themselves, the
probabilities of logits, and a setting of the loss. Imports no Numba.
"""

(
    PRED, PRED_ROW, TARGET, TARGET_ROW,  # addresses; elements from row to row, each contiguous
    LABELS,  # whether the target is one int64 class per row
    GRAD, GRAD_ROW,  # 0: no gradient
    ROWS, COLUMNS,  # samples, and elements of each
    BY,  # float64: the gradient is divided by it
    TOTAL,  # float64: the sum of the terms is added to it
    # Of float64: the address of a sample's weights (0: all are 1), elements from sample to sample
    # and within one (0: one weight for all of it); and of the samples' indices, int64, in the
    # order of the rows (0: their own).
    WEIGHTS, WEIGHTS_ROW, WEIGHTS_COL, ORDER,
    TERMS,  # where the terms go, contiguous float64, times their weights; 0: nowhere
    PROBABILITIES,  # where those go, rows side by side; 0: nowhere
    SETTING,  # float64: of a loss that has one
    CALL,
) = range(19)  # fmt: skip
