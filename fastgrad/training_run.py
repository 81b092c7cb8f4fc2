"""`MLP.fit`: epochs in few compiled calls, stopped where they go wrong, resumed to the bit.

Without a callback, many epochs of few samples are one job (`network_job`): from Python, an epoch of
a small network would take longer to begin than to run. What a job did is looked at afterwards. If a
number is not finite any more, it is run again from its start in halves, which gives the same bits,
down to the one epoch that went wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import INT64, Array, as_array, check_count, random_generator
from fastgrad.compiled_network import CompiledNetwork
from fastgrad.kernels import plan_table as at
from fastgrad.network_job import START, WINDOW, Job, Samples
from fastgrad.optimizers import Adam, Memory, Optimizer
from fastgrad.terminal import Progress
from fastgrad.training import BegunEpoch, EarlyStopping, FitResult, FitState, TrainingState
from fastgrad.warning_categories import TrainingWarning

CALLER = "MLP.fit"
# Samples whose orders are drawn at a time: 512 KiB, which stay in L2.
ORDERS = 1 << 16
# Steps that a job makes at least, if it can: then the copy of the parameters that it starts from
# is less than 2 % of it, however large they are and however few the samples.
STEPS = 32
# Bytes up to which samples are converted once, not in every epoch.
CONVERTED = 1 << 26


def train(
    network: CompiledNetwork,
    params: ArrayLike | None,
    x: ArrayLike,
    target: ArrayLike | None,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
    progress: bool,
    callback: Callable[[FitState], Any] | None,
    resume: FitResult | None,
) -> FitResult:
    """Train `network`: see `MLP.fit`."""
    if resume is None:
        p = network.native_params(CALLER, as_array(CALLER, "params", params)).copy()
    else:
        p = _resumed(network, params, resume)
    run = Training(network, p, resume)
    with run.result_on_interrupt():  # during the checks, too
        x = as_array(CALLER, "x", x)
        data = network.samples(
            CALLER, x, None if target is None else as_array(CALLER, "target", target)
        )
        if callback is not None and not callable(callback):
            raise TypeError(f"{CALLER}: callback is a {type(callback).__name__}: give a function")
        epochs, batch_size = (
            check_count(CALLER, "epochs", epochs),
            check_count(CALLER, "batch_size", batch_size),
        )
        n = len(data.x)
        if n == 0:
            raise ValueError(f"{CALLER}: x has shape {x.shape}: there are no samples")
        run.prepare(data, optimizer, min(batch_size, n), bool(shuffle), seed)
        with Progress(bool(progress)) as bar:
            run.go(epochs, callback, bar if progress else None)
    result = run.result()
    if run.stopped == "diverged":
        try:
            warnings.warn(run.what_diverged(), TrainingWarning, stacklevel=3)
        except TrainingWarning as error:  # where a filter makes it one
            error.result = result  # type: ignore[attr-defined]
            raise
    return result


def _resumed(network: CompiledNetwork, params: ArrayLike | None, resume: FitResult) -> Array:
    """Return a copy of the parameters to go on from."""
    if not isinstance(resume, FitResult):
        kind = type(resume).__name__
        raise TypeError(f"{CALLER}: resume is a {kind}: give what an earlier fit returned")
    if resume.state is None:
        raise ValueError(f"{CALLER}: resume has no state: its training had not begun")
    own = resume.params
    if own.shape != (network.size,) or own.dtype != network.dtype:
        raise ValueError(
            f"{CALLER}: resume has {own.size} parameters of {own.dtype} but the network has "
            f"{network.size} of {network.dtype}: give a result of this network"
        )
    if params is not None:
        given = network.native_params(CALLER, as_array(CALLER, "params", params))
        if not np.array_equal(given, own, equal_nan=True):
            raise ValueError(
                f"{CALLER}: params are not those of resume: give None, or leave resume out to "
                "start afresh"
            )
    return own.copy()


class Training:
    """A training under way; whenever it is interrupted, it can tell what to go on from."""

    def __init__(self, network: CompiledNetwork, p: Array, before: FitResult | None) -> None:
        self.network, self.p = network, p
        self.losses: list[float] = [] if before is None else before.losses.tolist()
        self.state = None if before is None else before.state
        self.begun = None if self.state is None else self.state.begun
        self.stopped: str | None = None
        self.job: Job | None = None

    # -- before the first epoch -------------------------------------------------------------------
    def prepare(
        self, data: Samples, optimizer: Optimizer | None, batch: int, shuffle: bool, seed: Any
    ) -> None:
        """Take samples and settings, checked but for the optimizer and the seed."""
        network, state, begun = self.network, self.state, self.begun
        name = network.dtype.name
        if optimizer is None:
            optimizer = Adam() if state is None else state.optimizer
        if not isinstance(optimizer, Optimizer):
            given = type(optimizer).__name__
            raise TypeError(f"{CALLER}: optimizer is a {given}: give fg.SGD, fg.Adam or fg.AdamW")
        memory = optimizer.begin(network.size, name)
        rng = random_generator(CALLER, seed)
        if state is not None:
            if optimizer.kernel != state.optimizer.kernel:
                raise ValueError(
                    f"{CALLER}: optimizer is {optimizer} but resume was trained by "
                    f"{state.optimizer}: give one of its kind, or None for the same"
                )
            for vector, before in zip(memory.vectors, state.memory.vectors, strict=False):
                vector[:] = before
            memory = memory._replace(powers=state.memory.powers)
            kind, now = state.generator
            rng = np.random.Generator(kind())
            rng.bit_generator.state = now
        if begun is not None and (begun.samples, begun.batch_size, begun.order is not None) != (
            len(data.x), batch, shuffle
        ):  # fmt: skip
            raise ValueError(
                f"{CALLER}: resume was interrupted within an epoch of {begun.samples} samples in "
                f"batches of {begun.batch_size}, shuffle={begun.order is not None}; given are "
                f"{len(data.x)} in batches of {batch}, shuffle={shuffle}: give the same to end it"
            )
        self.data = data = self._converted(data)
        self.n, self.batch, self.shuffle = len(data.x), batch, shuffle
        self.optimizer, self.memory, self.rng = optimizer, memory, rng
        self.table = optimizer.table(memory, name)
        self.gradient = np.empty(network.size, network.dtype)
        if begun is not None:
            self.gradient[:] = begun.gradient
        self.order: Array | None = None
        self.own_order: Array | None = None
        # From which epoch on orders were drawn, and from which state of the generator.
        self.drawn: tuple[int, Any] | None = None
        self.first = -1  # epoch of the job that is not in `losses` yet
        # A user may have set some to inf: then only losses tell.
        self.finite = bool(np.isfinite(self.p).all())
        self.kept: list[Array] = []
        self.job = Job(network, self.p, self.gradient, data, batch, optimizer=self.table)

    def _converted(self, data: Samples) -> Samples:
        """Return the samples in the network's dtype, if these are few bytes."""
        network = self.network
        if data.native:
            return data
        foreign = [data.x] if data.labels or data.target is None else [data.x, data.target]
        foreign = [array for array in foreign if not network.takes(array)]
        if sum(a.size for a in foreign) * network.dtype.itemsize > CONVERTED:
            return data
        return Samples(*data.converted(slice(None), network.dtype), data.labels, True)

    def _changing(self) -> list[Array]:
        """Return all that a step changes, but the gradient."""
        return [self.p, self.table, *self.memory.vectors]

    # -- epochs -----------------------------------------------------------------------------------
    def go(
        self, epochs: int, callback: Callable[[FitState], Any] | None, bar: Progress | None
    ) -> None:
        """Run so many epochs, or as many as go well; show them on `bar`."""
        job, begin, n = self._job(), len(self.losses), self.n
        end, most = begin + epochs, epochs
        start = perf_counter()
        shown = -1.0

        def note(done: int) -> None:
            nonlocal shown
            assert bar is not None
            if perf_counter() - shown < 0.1:  # drawing takes longer than a short epoch
                return
            shown = perf_counter()
            done += (len(self.losses) - begin) * n
            loss = f"loss {self.losses[-1]:.4g}  " if self.losses else ""
            speed = f"{done / (shown - start):.3g} samples/s" if done else ""
            epoch = begin + min(done // n + 1, epochs)
            bar.update(done, epochs * n, f"epoch {epoch}/{end}  {loss}{speed}")

        if bar is not None:
            note(0)

        while len(self.losses) < end:
            began = perf_counter()
            epoch = len(self.losses)
            labels = self.data.target if self.data.labels else None
            if epoch > begin and labels is not None:  # a callback may change them
                self.network.check_classes(CALLER, labels)
            passes = 1
            if callback is None and self.data.native and self.begun is None:
                passes = min(end - epoch, most, self._passes_at_a_time(job))
            self._keep()
            self._begin(job, passes)
            job.run(note if bar is not None else None)
            losses = self._losses(job, passes)
            if losses is None:
                self._go_back()
                if passes == 1:
                    self.stopped = "diverged"
                    break
                most = passes // 2
                continue
            self.begun = None
            self.losses += losses  # from here on, an interrupt leaves a result with this epoch
            if callback is not None:
                speed = n / (perf_counter() - began)
                if _is_true(callback(FitState(epoch, losses[0], self.p, speed))):
                    early = isinstance(callback, EarlyStopping)
                    self.stopped = "early stopping" if early else "callback"
                    break
        if bar is not None and self.losses:
            seconds = perf_counter() - start
            speed = (len(self.losses) - begin) * n / seconds
            text = f"{len(self.losses)} epochs  loss {self.losses[-1]:.4g}  {seconds:.3g} s"
            bar.finish(f"{text}  {speed:.3g} samples/s")

    def _job(self) -> Job:
        assert self.job is not None
        return self.job

    def _passes_at_a_time(self, job: Job) -> int:
        """Return how many epochs are one job: a few ms of them, or STEPS steps."""
        passes = max(job.first_piece // job.per_pass, STEPS * self.batch // self.n)
        return max(1, min(passes, ORDERS // self.n))

    def _begin(self, job: Job, passes: int) -> None:
        """Begin a job of so many epochs."""
        start, order = START, None
        if self.begun is not None:
            start, order = self.begun.reached, self.begun.order
        elif self.shuffle:
            self.drawn = len(self.losses), self.rng.bit_generator.state
            order = self._orders(passes)
        job.begin(passes, order, start)
        self.first = len(self.losses)

    def _orders(self, passes: int) -> Array:
        """Return so many permutations, one a row: those of ``rng.permutation(n)``."""
        if passes == 1:
            return self.rng.permutation(self.n)
        if self.order is None or len(self.order) != passes:
            self.order = np.empty((passes, self.n), INT64)
            self.own_order = np.arange(self.n)
        self.order[:] = self.own_order
        return self.rng.permuted(self.order, axis=1, out=self.order)

    def _losses(self, job: Job, passes: int) -> list[float] | None:
        """Return the losses of the first epochs of a job; None if a number is not finite."""
        losses = self.network.reduced(job.pass_terms[:passes], self.n)
        if not np.isfinite(losses).all() or (self.finite and not np.isfinite(self.p).all()):
            return None
        return losses.tolist()  # type: ignore[no-any-return]

    def _keep(self) -> None:
        """Keep a copy of all that a step changes, but the gradient."""
        if not self.kept:
            self.kept = [array.copy() for array in self._changing()]
            return
        for kept, now in zip(self.kept, self._changing(), strict=True):
            np.copyto(kept, now)

    def _go_back(self) -> None:
        """Go back to where the job began; of an epoch begun earlier, `begun` has the gradient."""
        for kept, now in zip(self.kept, self._changing(), strict=True):
            np.copyto(now, kept)
        if self.begun is not None:
            np.copyto(self.gradient, self.begun.gradient)
        elif self.drawn is not None:
            self.rng.bit_generator.state = self.drawn[1]
        self.first = -1

    # -- after the last epoch ---------------------------------------------------------------------
    def result(self) -> FitResult:
        """Return what there is, when no job is under way."""
        state = self.state
        if self.job is not None:
            bits = self.rng.bit_generator
            memory = Memory(self.memory.vectors, self.table[at.POWERS].tolist())
            state = TrainingState(self.optimizer, memory, (type(bits), bits.state), self.begun)
        return FitResult(self.p, np.array(self.losses), self.stopped, state)

    @contextmanager
    def result_on_interrupt(self) -> Iterator[None]:
        """Give Ctrl-C's exception what there is by then."""
        try:
            yield
        except KeyboardInterrupt as stop:
            self.stopped = "interrupt"
            if self.job is not None:
                self._interrupted(self.job)
            stop.result = self.result()  # type: ignore[attr-defined]
            raise

    def _interrupted(self, job: Job) -> None:
        """Count what the job has done by now, whenever that is."""
        if self.first == len(self.losses):
            passes = job.done // job.per_pass
            losses = self._losses(job, passes)
            if losses is None:
                self._go_back()
            else:
                reached = job.reached()
                self.losses += losses
                self.begun = None
                if reached.block:
                    order = None if job.order is None else job.order.reshape(-1, self.n)[passes]
                    self.begun = BegunEpoch(
                        reached, self.gradient.copy(), None if order is None else order.copy(),
                        self.n, self.batch,
                    )  # fmt: skip
        if self.drawn is not None:  # as if just these orders had been drawn
            first, self.rng.bit_generator.state = self.drawn
            for _ in range(len(self.losses) + (self.begun is not None) - first):
                self.rng.permutation(self.n)

    def what_diverged(self) -> str:
        """Return a sentence on the epoch that went wrong."""
        job, epoch = self._job(), len(self.losses)
        loss = self.network.reduced(job.terms, self.n)
        what = f"a loss of {loss}" if not np.isfinite(loss) else "parameters that are not finite"
        bad = self._first_bad_sample()
        if bad is None:
            why = "every sample is finite: try a smaller learning rate, or scale x and target"
        else:
            name, sample = bad
            why = f"{name} of sample {sample} is not finite (in {self.network.dtype})"
        return (
            f"{CALLER}: epoch {epoch} (the first is 0) gave {what}; {why}. Training stopped, the "
            "result has the parameters from before that epoch"
        )

    def _first_bad_sample(self) -> tuple[str, int] | None:
        """Return the first sample that is not finite, and whether x or target is not."""
        data, dtype = self.data, self.network.dtype
        step = max(1, WINDOW // (8 * (data.x.shape[1] + self.network.outputs)))
        for first in range(0, self.n, step):
            x, target = data.converted(slice(first, first + step), dtype)
            found = [("x", x)] if data.labels or target is None else [("x", x), ("target", target)]
            rows = [(name, ~np.isfinite(array).all(axis=1)) for name, array in found]
            bad = [(int(wrong.argmax()), name) for name, wrong in rows if wrong.any()]
            if bad:
                sample, name = min(bad, key=lambda pair: pair[0])
                return name, first + sample
        return None


def _is_true(answer: Any) -> bool:
    """Return whether a callback's answer is True, or NumPy's, which comparing NumPy numbers gives.

    Nothing else: a callback that reports (a progress bar's ``update``, a loss) is not asked.
    """
    return isinstance(answer, bool | np.bool_) and bool(answer)
