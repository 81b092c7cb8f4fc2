"""A stage's arguments other than its layer's row: the words of a *run*, of one thread in one job.

`plan` writes them on its stack, and every stage reads the ones it needs by name. So the stages of
all kinds of layers take two words, ``stage(row, run)``, and a new kind that needs more does not
change the others. Imports no Numba.
"""

(
    # Of the thread: addresses of its job and its workspace, and copies of the job's words.
    JOB, PLAN, PARAMS, WEIGHTS, SPACE,
    IN_TURN,  # whether threads add each gradient piece by piece: see `stage.turns`
    # Of a block of samples.
    SAMPLES, BLOCK,
    OPENS,  # whether it is the first of its batch
    FRESH,  # whether this thread, alone, reads weights that are new: stages pack as they read
    SUMS, ADDS,  # all layers' gradient: where it goes, or 0; whether it adds to what is there
    # Of a layer, forward: x, and where the output goes. Z, if not 0, is where the input of the
    # activation is kept.
    X, X_ROW, X_COL, Y, Z, ACTIVATION,
    # Backward: the gradients of the activation's input, which a stage may overwrite, and of x,
    # which it writes unless the address is 0. The x is that of the forward pass.
    GRAD, GRAD_X,
    RUN,
) = range(21)  # fmt: skip
