"""fastgrad beside what people would use instead: `python -m benchmarks.peers`.

NumPy (layers: `fastgrad.reference`; networks and training: by hand), PyTorch eager and compiled,
JAX, HIPS autograd and scikit-learn, on the workloads of `workloads.py`. What makes a ratio fair:

- A process for each peer, with fastgrad and that peer in it, and the same number of threads for
  both, set before anything is imported. Samples are taken in turns, and each ratio is one of
  neighbours: a busy moment of the machine hits both.
- Both results are first held against a float64 reference, within what rounding explains
  (`verify.py`). A pair that disagrees is not timed, and the command ends with 1.
- fastgrad takes and gives NumPy arrays, allocating its results, as a user calls it. Peers get
  their best case: tensors and device arrays made beforehand; JAX jitted, waited for, and without
  its hand-over to another thread; PyTorch asked for gradients by `torch.autograd.grad`, so that
  nothing accumulates in `.grad`, its plain forward pass without a graph, Adam fused.
  `--from-numpy` converts at each call instead, which is what a script with NumPy arrays pays.
- "both" of a layer is y and the gradients with respect to x, w and b for a given grad_y;
  "backward" starts from what the forward pass kept. A network is the loss and its gradient with
  respect to all parameters. Training is an epoch of Adam from the same start over the same
  batches: JAX runs it as one jitted `lax.scan`, scikit-learn as one `partial_fit`.
- torch.compile is timed where compiling pays at all: layers forward and backward together,
  networks, training. What is compiled by anyone is compiled before the clock starts.
"""
