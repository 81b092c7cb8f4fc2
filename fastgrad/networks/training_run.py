"""`MLP.fit`: epochs in few compiled calls, stopped where they go wrong, resumed to the bit.

Without a callback, many epochs of few samples are one job (`job.Job`): starting an epoch from
Python would take longer than a small network's epoch. The results are checked after the job. If a
number is not finite, training returns to a copy it has kept, and runs again from there up to the
epoch that diverged: the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad.arguments import random_generator
from fastgrad.arrays import INT64, Array
from fastgrad.kernels.network import update_table as at
from fastgrad.networks.divergence import what_diverged
from fastgrad.networks.job import START, Job
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.fit_arguments import (
    CALLER,
    FitOptions,
    is_true,
    optimizer_of,
)
from fastgrad.networks.shared.samples import Samples, check_classes
from fastgrad.networks.shared.training import (
    BegunEpoch,
    EarlyStopping,
    FitResult,
    FitState,
    TrainingState,
)
from fastgrad.networks.shared.validation import Validations, made_result
from fastgrad.optimizers import Adam, Optimizer
from fastgrad.terminal import Progress

# Sample indices drawn at a time: 512 KiB, which stay in L2.
ORDERS = 1 << 16
# Steps after which the parameters are checked and copied again, unless they are so few that this
# takes a microsecond. Copying Adam's three vectors takes as long as a step of 32 samples.
STEPS, FEW = 64, 1 << 12
# Samples of at most so many bytes are converted once, not in every epoch.
CONVERTED = 1 << 26


class Training:
    """Training in progress; interrupted at any time, it can return a result to resume from."""

    def __init__(self, network: Network, p: Array, before: FitResult | None) -> None:
        self.network, self.p = network, p
        self.losses: list[float] = [] if before is None else before.losses.tolist()
        self.state = None if before is None else before.state
        self.begun = None if self.state is None else self.state.begun
        self.stopped: str | None = None
        self.job: Job | None = None
        self.validations: Validations | None = None

    # -- before the first epoch -------------------------------------------------------------------
    def prepare(self, data: Samples, options: FitOptions, validation: Samples | None) -> None:
        """Prepare to train with checked samples and settings; check optimizer and seed here."""
        batch, shuffle = min(options.batch_size, len(data.x)), options.shuffle
        network, state, begun = self.network, self.state, self.begun
        before = None if state is None else state.optimizer
        optimizer = optimizer_of(options.optimizer, before, Optimizer, Adam())
        memory = optimizer.begin(network.size, network.dtype.name)
        rng = random_generator(CALLER, options.seed)
        if state is not None:
            for vector, kept in zip(memory.vectors, state.memory.vectors, strict=False):
                vector[:] = kept
            memory.powers[:] = state.memory.powers[: optimizer.powers]  # of 0.1, SGD has two
            memory = memory._replace(steps=state.memory.steps)
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
        self.key = None if state is None else state.key  # of dropout
        if self.key is None and network.drops:
            self.key = int(rng.integers(1 << 63))
        self.gradient = np.empty(network.size, network.dtype)
        ranges = network.ranges(optimizer, self.p)
        self.table = optimizer.table(memory, self.p, self.gradient, ranges)
        if begun is not None:
            self.gradient[:] = begun.gradient
        self.order: Array | None = None
        self.own_order: Array | None = None
        # The epoch from which orders were drawn, and the generator's state before that.
        self.drawn: tuple[int, Any] | None = None
        self.first = -1  # epoch of the job that is not in `losses` yet
        # A user may have set some to inf: then only the losses show divergence.
        self.finite = bool(np.isfinite(self.p).all())
        few = network.size <= FEW or validation is not None
        self.every = 1 if few else max(1, STEPS * batch // self.n)
        self.kept: list[Array] = []
        self.kept_at: tuple[int, Any, BegunEpoch | None] = -self.every, None, None
        self.wrong: tuple[int, float | None] | None = None  # the epoch that diverged, its loss
        self._prepare_validation(options, validation)
        self.job = Job(
            network, self.p, self.gradient, data, batch,
            optimizer=self.table, clip=options.clip_norm,
        )  # fmt: skip

    def _prepare_validation(self, options: FitOptions, data: Samples | None) -> None:
        """Prepare to validate after each epoch; the last one, too, if that has not been done."""
        if data is None:
            return
        data, epochs = self._converted(data), len(self.losses)
        before = None if self.state is None else self.state.validated
        self.validations = Validations.begun(data, options, epochs, before)
        self.validating = Job(self.network, self.p, None, data, len(data.x))

    def _converted(self, data: Samples) -> Samples:
        """Return the samples in the network's dtype, if these are few bytes."""
        network = self.network
        if data.native:
            return data
        foreign = [data.x] if data.labels or data.target is None else [data.x, data.target]
        foreign = [a for a in foreign if data.left_out is not None or not network.takes(a)]
        if sum(a.size for a in foreign) * network.dtype.itemsize > CONVERTED:
            return data
        x, target = data.converted(slice(None), network.dtype)
        return data._replace(x=x, target=target, native=True)

    def _changing(self) -> list[Array]:
        """Return all that a step changes, except the gradient."""
        return [self.p, self.table, *self.memory.vectors]

    # -- epochs -----------------------------------------------------------------------------------
    def go(
        self, epochs: int, callback: Callable[[FitState], Any] | None, bar: Progress | None
    ) -> None:
        """Run so many epochs, or until training diverges; show them on `bar`."""
        job, begin, n = self._job(), len(self.losses), self.n
        validations = self.validations
        if validations is not None and begin > len(validations.losses):
            validations.fill(begin - (self.begun is None))
            if self.begun is None:  # the last epoch's loss is that of the parameters as they are
                validations.add(self._validate(), self.p)
        end = begin + epochs
        start = perf_counter()
        shown = -1.0

        def note(done: int) -> None:
            nonlocal shown
            assert bar is not None
            if perf_counter() - shown < 0.1:  # drawing takes longer than a short epoch
                return
            shown = perf_counter()
            done += (len(self.losses) - begin) * n
            loss = f"{self._shown()}  " if self.losses else ""
            speed = f"{done / (shown - start):.3g} samples/s" if done else ""
            epoch = begin + min(done // n + 1, epochs)
            bar.update(done, epochs * n, f"epoch {epoch}/{end}  {loss}{speed}")

        if bar is not None:
            note(0)

        while len(self.losses) < end and self.stopped is None:
            began = perf_counter()
            epoch = len(self.losses)
            if epoch > begin:  # a callback may change classes
                self._check_classes()
            passes = 1
            alone = callback is not None or validations is not None
            if not alone and self.data.native and self.begun is None:
                passes = min(end - epoch, self._passes_at_a_time(job))
            if epoch >= self.kept_at[0] + self.every:
                if self.every > 1 and not self._finite():
                    break
                self._keep()
            self._begin(job, passes)
            job.run(note if bar is not None else None)
            losses = self._losses(job, passes, self.every == 1)
            if losses is None:
                self._back_to_finite(epoch + passes)
                break
            self.begun = None
            self.losses += losses  # from here on, an interrupt leaves a result with this epoch
            speed, validated = n / (perf_counter() - began), None
            if validations is not None:
                validated = self._validate()
                validations.add(validated, self.p)
            if callback is not None:
                state = FitState(epoch, losses[0], self.p.view(), speed, validated)
                if is_true(callback(state)):
                    early = isinstance(callback, EarlyStopping)
                    self.stopped = "early stopping" if early else "callback"
        if self.wrong is None and self.every > 1 and not self._finite():
            self._back_to_finite(len(self.losses))
        if bar is not None and self.losses:
            seconds = perf_counter() - start
            speed = (len(self.losses) - begin) * n / seconds
            text = f"{len(self.losses)} epochs  {self._shown()}  {seconds:.3g} s"
            bar.finish(f"{text}  {speed:.3g} samples/s")

    def _shown(self) -> str:
        """Return the last losses as text."""
        text = f"loss {self.losses[-1]:.4g}"
        validated = None if self.validations is None else self.validations.losses
        return f"{text}  validation {validated[-1]:.4g}" if validated else text

    def _check_classes(self) -> None:
        """Raise if the targets are classes that the network does not have."""
        validations = self.validations
        for data in (self.data, None if validations is None else validations.data):
            if data is not None and data.labels and data.target is not None:
                check_classes(self.network, CALLER, data.target)

    def _validate(self) -> float:
        """Return the validation loss of the parameters as they are."""
        job = self.validating
        job.begin().run()
        return float(job.reduced(job.terms))

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
        steps = passes * -(-self.n // self.batch)
        self.rates = self.optimizer.take_rates(self.table, steps)
        draw = None if self.key is None else (self.key, int(self.table[at.STEPS]))
        job.begin(passes, order, start, draw)
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

    def _losses(self, job: Job, passes: int, closely: bool = True) -> list[float] | None:
        """Return the losses of the first epochs of a job; None if a number is not finite.

        A parameter that is not finite stays so: checking now and then is enough.
        """
        losses = job.reduced(job.pass_terms[:passes])
        if not np.isfinite(losses).all() or (closely and not self._finite()):
            return None
        return losses.tolist()  # type: ignore[no-any-return]

    def _finite(self) -> bool:
        return not self.finite or bool(np.isfinite(self.p).all())

    # -- copies, and returning to them ------------------------------------------------------------
    def _keep(self) -> None:
        """Keep a copy of all that a step changes, except the gradient."""
        if not self.kept:
            self.kept = [array.copy() for array in self._changing()]
        else:
            for kept, now in zip(self.kept, self._changing(), strict=True):
                np.copyto(kept, now)
        generator = self.rng.bit_generator.state if self.shuffle else None
        self.kept_at = len(self.losses), generator, self.begun

    def _go_back(self) -> None:
        """Return to the copy; an epoch begun earlier has its gradient in `begun`."""
        for kept, now in zip(self.kept, self._changing(), strict=True):
            np.copyto(now, kept)
        epoch, generator, self.begun = self.kept_at
        del self.losses[epoch:]
        if self.begun is not None:
            np.copyto(self.gradient, self.begun.gradient)
        if generator is not None:
            self.rng.bit_generator.state = generator
            self.drawn = epoch + (self.begun is not None), generator
        self.first = -1

    def _back_to_finite(self, end: int) -> None:
        """Return to the last epoch before `end` after which all numbers were finite.

        A callback may have changed samples or parameters since. The epochs run again must give
        the same losses as before: an epoch counts only if the callback was called with its loss.
        """
        self.stopped, self.wrong = "diverged", (end - 1, None)
        job, told = self._job(), self.losses[self.kept_at[0] :]
        self._go_back()
        first = len(self.losses)
        passes = max(1, (end - first) // 2) if self.data.native and self.begun is None else 1
        while len(self.losses) < end:
            passes = min(passes, end - len(self.losses))
            self._keep()
            self._begin(job, passes)
            job.run()
            losses = self._losses(job, passes)
            before = told[len(self.losses) - first :][:passes]
            if losses is None or losses[: len(before)] != before:
                self._go_back()
                if passes == 1:
                    loss = job.reduced(job.terms)
                    if before in ([], [loss]):
                        self.wrong = len(self.losses), loss
                    return
                passes //= 2
                continue
            self.begun = None
            self.losses += losses

    # -- after the last epoch ---------------------------------------------------------------------
    def result(self) -> FitResult:
        """Return the result so far, when no job is running."""
        state = self.state
        if self.job is not None:
            bits = self.rng.bit_generator
            memory = self.optimizer.memory_of(self.table, self.memory.vectors)
            generator = type(bits), bits.state
            state = TrainingState(self.optimizer, memory, generator, self.begun, key=self.key)
        return made_result(self.p, self.losses, self.stopped, state, self.validations)

    def what_diverged(self) -> str:
        """Return a sentence about the epoch that diverged."""
        assert self.wrong is not None
        return what_diverged(self.network, self.data, *self.wrong, kept=len(self.losses))

    def interrupted(self) -> FitResult:
        """Return the result so far, at any time."""
        self.stopped = "interrupt"
        if self.job is not None:
            self._interrupted(self.job)
        return self.result()

    def _interrupted(self, job: Job) -> None:
        """Count what the job has done."""
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
        if self.drawn is not None:  # as if only these orders had been drawn
            first, self.rng.bit_generator.state = self.drawn
            for _ in range(len(self.losses) + (self.begun is not None) - first):
                self.rng.permutation(self.n)
