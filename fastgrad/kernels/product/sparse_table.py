"""What the kernels of sparse matrices (`sparse`) and Python agree on. Imports no Numba."""

from __future__ import annotations

from fastgrad.kernels.toolchain.target import BATCH_BLOCK

# What `sparse_check` finds, by number.
MISTAKES = ("", "start", "order", "end", "index")
CHECKED, STARTS, ORDER, LENGTH, INDEX = range(5)

# Entries that `sparse_gradient` collects at a time (0.5 MiB: they stay in L2), samples whose
# entries are collected together, and features.
ENTRIES, CHUNK_ROWS, FEATURES = 1 << 15, 64 * BATCH_BLOCK, 1 << 13


def gradient_space(samples: int) -> int:
    """Return the bytes of workspace for a gradient of so many samples."""
    return 8 * (FEATURES + 2 + 2 * ENTRIES + min(samples, CHUNK_ROWS))
