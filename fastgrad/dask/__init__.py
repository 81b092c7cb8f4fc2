"""Networks on data that lies in Dask: arrays, delayed blocks, files that workers read.

``pip install "fastgrad[dask]"``. Values and gradients are computed where the blocks are; only
parameters and gradients move. Sums over blocks have a fixed order, so every scheduler, every number
of workers and every order of arrival gives the same bits.
"""

from fastgrad.dask.gradient import serial, value_and_grad
from fastgrad.dask.predict import predict
from fastgrad.dask.training import fit

__all__ = ["fit", "predict", "serial", "value_and_grad"]
