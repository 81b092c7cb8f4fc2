"""The words by which a recurrent layer's kernels are told what to do. Imports nothing.

Python gives those up to SPACE as arguments: numbers, arrays (as their address) or None (as 0).
"""

RNN, LSTM, GRU_BEFORE, GRU_AFTER = range(4)  # cells; of a GRU, when its reset gate is applied

(
    # sizes; GATES is the width of a row of gates
    CELL, STEPS, SAMPLES, INPUTS, STATES, GATES,
    # strides in elements; where an LSTM's gates o and g begin; kernel of the activation, or 0
    WX_ROW, WX_COL, WH_ROW, WH_COL, O_AT, G_AT, ACTIVATION,
    # inputs; BN is the bias beside a product with h; how many steps samples have, or 0
    X, WX, WH, B, BN, LENGTHS,
    # states, the first ones in front; gates; and what else is kept: tanh(c), r * h or q
    H, C, A, KEPT,
    # backward: gradients of all states; of one step's states, in the end the first ones'
    GRAD_H, GRAD_C, DH, DC,
    # results, or 0
    GX, GWX, GWH, GB, GBN,
    # workspaces: gradients of gates, their width, and rows of which one product takes so many
    DA, DA_ROW, CHUNK, ZEROS, PART, A_SPACE, W_SPACE, B_SPACE,
    WORDS,
) = range(41)  # fmt: skip
FORWARD, BACKWARD = KEPT + 1, GBN + 1  # how many arguments
