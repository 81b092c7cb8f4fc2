"""The same steps in PyTorch: layers of its own, autograd, and its optimizers.

Arrays are its own and made beforehand; samples are rows, which it prefers.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .adam import EPS, RATE, Alone
from .agents import Actor, Policy
from .classifiers import Classifier, Counts
from .columns import AllSamples, OneSample
from .recurrent import CLIP, Characters, Layer
from .recurrent import EPS as ADAGRAD_EPS
from .recurrent import RATE as DESCENT
from .regularized import BatchNormAndDropout
from .script import Array, Params, Run, Script, endless
from .words import Words

__all__ = ["Torch"]


class Torch:
    """PyTorch in one thread; its optimizers with `foreach`, or fused where they can be."""

    def __init__(self, fused: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, at import
            self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(1)
        self.fused = fused

    def run(self, script: Script) -> Run | None:
        """Return the script's run, or None if it is none of those here."""
        for kind in type(script).__mro__:
            if kind in STEPS:
                made: Run = STEPS[kind](self, script)
                return made
        return None

    def array(self, a: Array) -> Any:
        return self.torch.from_numpy(np.array(a))

    def optimizer(self, name: str, params: Iterable[Any], lr: float, **settings: Any) -> Any:
        fused = self.fused and name != "RMSprop"
        how = {"fused": True} if fused else {"foreach": True}
        return getattr(self.torch.optim, name)(params, lr=lr, **how, **settings)

    def linear(self, w: Array, b: Array | None = None) -> Any:
        """Return a layer with these weights ``(k, d)``."""
        k, d = w.shape
        made = self.torch.nn.Linear(d, k, bias=b is not None, dtype=self.array(w).dtype)
        with self.torch.no_grad():
            made.weight.copy_(self.array(w))
            if b is not None:
                made.bias.copy_(self.array(b).ravel())
        return made

    def network(self, start: Params, activations: Iterable[Any], columns: bool = False) -> Any:
        """Return layers and activations, one after the other."""
        parts: list[Any] = []
        for i, activation in enumerate(activations, start=1):
            w = start[f"W{i}"]
            parts.append(self.linear(w if columns else w.T, start[f"b{i}"]))
            if activation is not None:
                parts.append(activation)
        return self.torch.nn.Sequential(*parts)


def of_network(model: Any, start: Params, columns: bool = False) -> Callable[[], Params]:
    """Return what gives the parameters of layers, shaped as those of the script."""

    def params() -> Params:
        found = [p.detach().numpy() for p in model.parameters()]
        turned = [p if columns or p.ndim == 1 else p.T for p in found]
        return {n: p.reshape(w.shape) for (n, w), p in zip(start.items(), turned, strict=True)}

    return params


def classifier(lib: Torch, script: Classifier) -> Run:
    nn, loss_of = lib.torch.nn, lib.torch.nn.functional.cross_entropy
    model = lib.network(script.start, [nn.ReLU()] * (len(script.sizes) - 2) + [None])
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": script.l2},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ]
    adam = lib.optimizer("Adam", groups, RATE)
    batches = endless([(lib.array(x), lib.array(y.astype(int))) for x, y in script.batches])

    def step() -> Any:
        x, labels = next(batches)
        adam.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        adam.step()
        return loss

    return Run(step, of_network(model, script.start))


def regularized(lib: Torch, script: BatchNormAndDropout) -> Run:
    nn, start, parts = lib.torch.nn, script.start, []
    for i, k in enumerate(script.sizes[1:-1], start=1):
        norm = nn.BatchNorm1d(k, script.eps, 1 - script.momentum)  # gain and shift begin as 1 and 0
        parts += [lib.linear(start[f"W{i}"].T), norm, nn.ReLU(), nn.Dropout(script.rate)]
    model = nn.Sequential(*parts, lib.linear(start["W3"].T, start["b3"]))
    adam = lib.optimizer("Adam", model.parameters(), RATE)
    batches = endless([(lib.array(x), lib.array(y.astype(int))) for x, y in script.batches])
    loss_of = nn.functional.cross_entropy

    def step() -> Any:
        x, labels = next(batches)
        adam.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        adam.step()
        return loss

    return Run(step, lambda: dict(model.named_parameters()))


def counts(lib: Torch, script: Counts) -> Run:
    model = lib.network(script.start, [lib.torch.nn.Tanh(), None])
    sgd = lib.optimizer("SGD", model.parameters(), script.rate)
    x, labels = lib.array(script.x.astype(float)), lib.array(np.array(script.labels))
    loss_of = lib.torch.nn.functional.cross_entropy

    def step() -> Any:
        sgd.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        sgd.step()
        return loss

    return Run(step, of_network(model, script.start))


def one_sample(lib: Torch, script: OneSample) -> Run:
    sigmoid = lib.torch.nn.Sigmoid()
    model = lib.network(script.start, [sigmoid, sigmoid], columns=True)
    sgd = lib.optimizer("SGD", model.parameters(), script.rate / script.count)
    batches = endless(
        [[(lib.array(x.ravel()), lib.array(y.ravel())) for x, y in some] for some in script.batches]
    )

    def step() -> None:
        sgd.zero_grad()
        for x, y in next(batches):
            (0.5 * (model(x) - y).square().sum()).backward()
        sgd.step()

    return Run(step, of_network(model, script.start, columns=True))


def all_samples(lib: Torch, script: AllSamples) -> Run:
    relu = lib.torch.nn.ReLU()
    model = lib.network(script.start, [relu, relu, relu, None], columns=True)
    sgd = lib.optimizer("SGD", model.parameters(), script.rate)
    x, y = lib.array(script.x.T), lib.array(script.target.T)
    loss_of = lib.torch.nn.functional.binary_cross_entropy_with_logits

    def step() -> Any:
        sgd.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        sgd.step()
        return loss

    return Run(step, of_network(model, script.start, columns=True))


def policy(lib: Torch, script: Policy) -> Run:
    torch = lib.torch
    first, last = lib.linear(script.start["W1"]), lib.linear(script.start["W2"][None])
    params = [first.weight, last.weight]
    rmsprop = lib.optimizer("RMSprop", params, RATE, alpha=script.alpha, eps=script.eps)
    episodes = endless([(lib.array(x), lib.array(r), c) for x, r, c in script.episodes])
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def step() -> None:
        seen, rewards, chances = next(episodes)
        scores, taken = [], []
        for x, chance in zip(seen, chances, strict=True):
            score = last(torch.relu(first(x)))
            scores.append(score)
            taken.append(1.0 if chance < torch.sigmoid(score).item() else 0.0)
        rmsprop.zero_grad()
        labels = torch.tensor(taken, dtype=rewards.dtype)[:, None]
        loss_of(torch.stack(scores), labels, weight=rewards, reduction="sum").backward()
        rmsprop.step()

    def found() -> Params:
        return {"W1": params[0].detach().numpy(), "W2": params[1].detach().numpy()[0]}

    return Run(step, found)


def actor(lib: Torch, script: Actor) -> Run:
    torch, nn = lib.torch, lib.torch.nn
    model, target = (
        lib.network(script.start, [nn.ReLU(), nn.ReLU(), nn.Tanh()]) for _ in range(2)
    )  # fmt: skip
    adam = lib.optimizer("Adam", model.parameters(), RATE)
    batches = endless([(lib.array(x), lib.array(liked)) for x, liked in script.batches])
    pairs = list(zip(target.parameters(), model.parameters(), strict=True))

    def step() -> Any:
        x, liked = next(batches)
        x = x.detach().requires_grad_()
        adam.zero_grad()
        y = model(x)
        y.backward((y.detach() - liked) / len(x))
        adam.step()
        with torch.no_grad():
            for slow, fast in pairs:
                slow.lerp_(fast, script.follow)
        return x.grad

    both = of_network(model, script.start), of_network(target, script.start)
    return Run(step, lambda: both[0]() | {f"target_{n}": p for n, p in both[1]().items()})


def words(lib: Torch, script: Words) -> Run:
    torch = lib.torch
    tables = [torch.nn.Embedding.from_pretrained(lib.array(table), freeze=False)
              for table in script.start.values()]  # fmt: skip
    adam = lib.optimizer("Adam", [t.weight for t in tables], RATE)
    batches = endless([(lib.array(c), lib.array(others)) for c, others in script.batches])
    is_context = lib.array(script.is_context)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def step() -> None:
        centre, others = next(batches)
        adam.zero_grad()
        scores = torch.bmm(tables[1](others), tables[0](centre)[:, :, None])[:, :, 0]
        (loss_of(scores, is_context, reduction="sum") / script.pairs).backward()
        adam.step()

    def params() -> Params:
        return {n: t.weight.detach().numpy() for n, t in zip(script.start, tables, strict=True)}

    return Run(step, params)


# Ours keeps the gates of an LSTM as input, forget, output, cell; PyTorch the last two exchanged.
ORDER = {"rnn": [0], "lstm": [0, 1, 3, 2], "gru": [0, 1, 2]}


def cell(lib: Torch, kind: str, start: Params) -> tuple[Any, Callable[[], Params]]:
    """Return PyTorch's layer with these weights, and what gives them; one bias is enough."""
    wx, wh, b = start["wx"], start["wh"], start["b"]
    d, k, order = len(wx), len(wh), ORDER[kind]

    def gates(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], len(order), k)[..., order, :].reshape(a.shape)

    made = getattr(lib.torch.nn, kind.upper())(d, k, dtype=lib.array(wx).dtype)
    with lib.torch.no_grad():
        made.weight_ih_l0.copy_(lib.array(gates(wx).T))
        made.weight_hh_l0.copy_(lib.array(gates(wh).T))
        made.bias_ih_l0.copy_(lib.array(gates(b)))
        made.bias_hh_l0.zero_()
    made.bias_hh_l0.requires_grad_(False)

    def params() -> Params:
        found = made.weight_ih_l0, made.weight_hh_l0, made.bias_ih_l0
        turned = [gates(p.detach().numpy().T) for p in found]
        return dict(zip(("wx", "wh", "b"), turned, strict=True))

    return made, params


def characters(lib: Torch, script: Characters) -> Run:
    torch, start = lib.torch, script.start
    rnn, of_rnn = cell(lib, "rnn", start)
    last = lib.linear(start["wy"].T, start["by"])
    params = [p for p in (*rnn.parameters(), *last.parameters()) if p.requires_grad]
    adagrad = lib.optimizer("Adagrad", params, DESCENT, eps=ADAGRAD_EPS)
    batches = endless([(lib.array(x), lib.array(y)) for x, y in script.batches])
    one_hot, loss_of = torch.nn.functional.one_hot, torch.nn.functional.cross_entropy
    h0 = torch.zeros(1, script.states, dtype=torch.float64)

    def step() -> Any:
        inputs, targets = next(batches)
        adagrad.zero_grad()
        h, _ = rnn(one_hot(inputs, script.letters).double(), h0)
        loss = loss_of(last(h), targets, reduction="sum")
        loss.backward()
        torch.nn.utils.clip_grad_value_(params, CLIP, foreach=True)
        adagrad.step()
        return loss

    def found() -> Params:
        wy, by = last.weight.detach().numpy().T, last.bias.detach().numpy()
        return of_rnn() | {"wy": wy, "by": by}

    return Run(step, found)


def layer(lib: Torch, script: Layer) -> Run:
    """A GRU is PyTorch's own, which resets after the product: as much work, other numbers."""
    made, params = cell(lib, script.cell, script.together(script.start))
    sgd = lib.optimizer("SGD", [p for p in made.parameters() if p.requires_grad], DESCENT)
    data, grad, h0 = lib.array(script.x), lib.array(script.grad), lib.array(script.h0[None])
    state = (h0, h0) if script.cell == "lstm" else h0

    def step() -> Any:
        x = data.detach().requires_grad_()
        sgd.zero_grad()
        made(x, state)[0].backward(grad)
        sgd.step()
        return x.grad

    return Run(step, params)


def alone(lib: Torch, script: Alone) -> Run:
    params = {name: lib.array(p).requires_grad_() for name, p in script.start.items()}
    for name, p in params.items():
        p.grad = lib.array(script.grads[name])
    kind, _, momentum = script.title.partition(" with ")
    settings = {"momentum": 0.9} if momentum else {} if kind == "SGD" else {"eps": EPS}
    optimizer = lib.optimizer(kind, params.values(), RATE, **settings)
    return Run(optimizer.step, lambda: {n: p.detach().numpy() for n, p in params.items()})


STEPS: dict[type[Script], Callable[[Torch, Any], Run]] = {
    Classifier: classifier,
    BatchNormAndDropout: regularized,
    Counts: counts,
    OneSample: one_sample,
    AllSamples: all_samples,
    Policy: policy,
    Actor: actor,
    Words: words,
    Characters: characters,
    Layer: layer,
    Alone: alone,
}
