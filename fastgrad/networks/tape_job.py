"""Jobs of a network that is opened: forward onto a tape, and backward from it."""

from __future__ import annotations

import numpy as np

from fastgrad.arrays import Array
from fastgrad.kernels.network import tape_table as kept
from fastgrad.networks.job import Job
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.samples import Samples


class Forward(Job):
    """All samples forward: their outputs to contiguous rows, and the rest to the tape."""

    kernel = "tape", "tape_forward"
    table = kept.JOB

    def __init__(
        self, network: Network, params: Array, rows: Array, y: Array, tape: Array, places: Array
    ) -> None:
        super().__init__(network, params, None, Samples(rows, None, False, True), len(rows), out=y)
        self.tape = tape, places
        self.words[[kept.TAPE, kept.PLACES]] = tape.ctypes.data, places.ctypes.data


class Backward(Job):
    """All samples backward; `grad` and `grad_x`, contiguous rows, may be None."""

    kernel = "tape", "tape_backward"
    table = kept.JOB

    def __init__(
        self,
        network: Network,
        params: Array,
        rows: Array,
        grad_y: Array,
        tape: Array,
        places: Array,
        grad: Array | None,
        grad_x: Array | None,
        adds: tuple[bool, bool],
    ) -> None:
        data = Samples(rows, grad_y, False, True)
        super().__init__(network, params, grad, data, len(rows))
        self.tape = tape, places, grad_x
        self.words[[kept.TAPE, kept.PLACES]] = tape.ctypes.data, places.ctypes.data
        self.words[kept.INTO_X] = 0 if grad_x is None else grad_x.ctypes.data
        self.words[[kept.ADD_GRADIENT, kept.ADD_X]] = np.array(adds)
