"""The same steps in JAX: jitted as a whole where the script allows it, with optax's optimizers.

Arrays are its own and made beforehand. The layers over time and the samples that come one at a
time are `jax.lax.scan`; a policy that must act after each frame is a jitted call per frame.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
from .script import Params, Run, Script, endless
from .words import Words

__all__ = ["Jax"]

Tree = dict[str, Any]


class Jax:
    """The number of its threads is in the environment: see `benchmarks.peers.environment`."""

    def __init__(self) -> None:
        self.jax: Any = importlib.import_module("jax")
        self.optax: Any = importlib.import_module("optax")
        self.jax.config.update("jax_enable_x64", True)
        # Every call is waited for, and handing it to another thread only costs it time.
        self.jax.config.update("jax_cpu_enable_async_dispatch", False)
        self.jnp = self.jax.numpy

    def run(self, script: Script) -> Run | None:
        """Return the script's run, or None if it is none of those here."""
        for kind in type(script).__mro__:
            if kind in STEPS:
                made: Run = STEPS[kind](self, script)
                return made
        return None

    def tree(self, params: Params) -> Tree:
        return {name: self.jnp.array(p) for name, p in params.items()}

    def trained(
        self,
        start: Params,
        optimizer: Any,
        gradients: Callable[..., tuple[Any, Tree]],
        batches: Any,
        average: float = 0.0,
    ) -> Run:
        """Return the run whose step is one jitted call: gradients, optimizer, moving average.

        ``gradients(params, *batch) -> (anything, grads)``.
        """
        jax, optax = self.jax, self.optax
        params = self.tree(start)
        state = {"params": params, "memory": optimizer.init(params)}
        if average:
            state["target"] = self.tree(start)

        def whole(state: Tree, *batch: Any) -> tuple[Tree, Any]:
            value, grads = gradients(state["params"], *batch)
            updates, memory = optimizer.update(grads, state["memory"], state["params"])
            after = {"params": optax.apply_updates(state["params"], updates), "memory": memory}
            if average:
                after["target"] = jax.tree.map(
                    lambda new, old: average * new + (1 - average) * old,
                    after["params"], state["target"],
                )  # fmt: skip
            return after, value

        jitted, held = jax.jit(whole, donate_argnums=0), [state]
        made = endless([jax.tree.map(self.jnp.array, batch) for batch in batches])

        def step() -> Any:
            held[0], value = jax.block_until_ready(jitted(held[0], *next(made)))
            return value

        def found() -> Params:
            names = {name: np.array(p) for name, p in held[0]["params"].items()}
            target = held[0].get("target", {})
            return names | {f"target_{name}": np.array(p) for name, p in target.items()}

        return Run(step, found)

    def adagrad(self, rate: float, eps: float) -> Any:
        """Return the scripts' Adagrad: optax has eps within the root."""
        jax, jnp = self.jax, self.jnp

        def update(grads: Any, sums: Any, _: Any) -> Any:
            sums = jax.tree.map(lambda s, g: s + g * g, sums, grads)
            return jax.tree.map(lambda s, g: -rate * g / (jnp.sqrt(s) + eps), sums, grads), sums

        start = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
        return self.optax.GradientTransformation(start, update)

    def forward(self, p: Tree, x: Any, activations: Any) -> Any:
        for i, activation in enumerate(activations, start=1):
            x = activation(x @ p[f"W{i}"] + p[f"b{i}"])
        return x

    def cross_entropy(self, scores: Any, labels: Any) -> Any:
        loss = self.optax.softmax_cross_entropy_with_integer_labels
        return loss(scores, labels)


def same(z: Any) -> Any:
    return z


def classifier(lib: Jax, script: Classifier) -> Run:
    optax, jax = lib.optax, lib.jax
    activations = [jax.nn.relu] * (len(script.sizes) - 2) + [same]
    decay = optax.add_decayed_weights(
        script.l2, mask=lambda p: {name: w.ndim == 2 for name, w in p.items()}
    )
    adam = optax.adam(RATE, eps=EPS)

    def loss(p: Tree, x: Any, labels: Any) -> Any:
        return lib.cross_entropy(lib.forward(p, x, activations), labels).mean()

    optimizer = optax.chain(decay, adam) if script.l2 else adam
    batches = [(x, y.astype(int)) for x, y in script.batches]
    return lib.trained(script.start, optimizer, jax.value_and_grad(loss), batches)


def regularized(lib: Jax, script: BatchNormAndDropout) -> Run:
    """Means and variances are returned, for the running ones; a batch has a key of its own."""
    jax, jnp, keep = lib.jax, lib.jnp, 1 - script.rate

    def loss(p: Tree, h: Any, labels: Any, key: Any) -> Any:
        found = []
        for i in (1, 2):
            z = h @ p[f"W{i}"]
            mean, variance = z.mean(0), z.var(0)
            found.append((mean, variance))
            normal = (z - mean) * jax.lax.rsqrt(variance + script.eps)
            h = jax.nn.relu(p[f"gain{i}"] * normal + p[f"shift{i}"])
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), keep, h.shape)
            h = jnp.where(kept, h / h.dtype.type(keep), 0)
        return lib.cross_entropy(h @ p["W3"] + p["b3"], labels).mean(), found

    batches = [
        (x, y.astype(int), np.array([0, i], np.uint32)) for i, (x, y) in enumerate(script.batches)
    ]
    gradients = jax.value_and_grad(loss, has_aux=True)
    return lib.trained(script.start, lib.optax.adam(RATE, eps=EPS), gradients, batches)


def counts(lib: Jax, script: Counts) -> Run:
    def loss(p: Tree, x: Any, labels: Any) -> Any:
        return lib.cross_entropy(lib.forward(p, x, [lib.jnp.tanh, same]), labels).mean()

    data = [(script.x.astype(float), np.array(script.labels))]
    gradients = lib.jax.value_and_grad(loss)
    return lib.trained(script.start, lib.optax.sgd(script.rate), gradients, data)


def one_sample(lib: Jax, script: OneSample) -> Run:
    jax = lib.jax

    def loss(p: Tree, x: Any, y: Any) -> Any:
        for i in (1, 2):
            x = jax.nn.sigmoid(p[f"W{i}"] @ x + p[f"b{i}"])
        return 0.5 * ((x - y) ** 2).sum()

    def gradients(p: Tree, xs: Any, ys: Any) -> tuple[Any, Tree]:
        def add(total: Tree, sample: Any) -> tuple[Tree, None]:
            return jax.tree.map(lib.jnp.add, total, jax.grad(loss)(p, *sample)), None

        total, _ = jax.lax.scan(add, jax.tree.map(lib.jnp.zeros_like, p), (xs, ys))
        return 0.0, total

    batches = [tuple(map(np.stack, zip(*some, strict=True))) for some in script.batches]
    sgd = lib.optax.sgd(script.rate / script.count)
    return lib.trained(script.start, sgd, gradients, batches)


def all_samples(lib: Jax, script: AllSamples) -> Run:
    jax = lib.jax

    def loss(p: Tree, a: Any, y: Any) -> Any:
        for i in (1, 2, 3, 4):
            z = p[f"W{i}"] @ a + p[f"b{i}"]
            a = jax.nn.relu(z)
        return lib.optax.sigmoid_binary_cross_entropy(z, y).mean()

    gradients = jax.value_and_grad(loss)
    data = [(script.x, script.target)]
    return lib.trained(script.start, lib.optax.sgd(script.rate), gradients, data)


def policy(lib: Jax, script: Policy) -> Run:
    jax = lib.jax
    act = jax.jit(lambda p, x: jax.nn.sigmoid(p["W2"] @ jax.nn.relu(p["W1"] @ x)))

    def loss(p: Tree, seen: Any, rewards: Any, taken: Any) -> Any:
        scores = jax.nn.relu(seen @ p["W1"].T) @ p["W2"]
        return (lib.optax.sigmoid_binary_cross_entropy(scores, taken) * rewards[:, 0]).sum()

    rmsprop = lib.optax.rmsprop(RATE, decay=script.alpha, eps=script.eps, eps_in_sqrt=False)

    def learn(p: Tree, memory: Any, *episode: Any) -> Any:
        updates, memory = rmsprop.update(jax.grad(loss)(p, *episode), memory, p)
        return lib.optax.apply_updates(p, updates), memory

    jitted, held = jax.jit(learn, donate_argnums=(0, 1)), [lib.tree(script.start)]
    held.append(rmsprop.init(held[0]))
    episodes = endless(
        [(lib.jnp.array(x), list(lib.jnp.array(x)), lib.jnp.array(r), c)
         for x, r, c in script.episodes]
    )  # fmt: skip

    def step() -> None:
        seen, frames, rewards, chances = next(episodes)
        taken = [
            1.0 if chance < float(act(held[0], x)) else 0.0
            for x, chance in zip(frames, chances, strict=True)
        ]
        held[:] = jax.block_until_ready(jitted(*held, seen, rewards, np.array(taken)))

    return Run(step, lambda: {name: np.array(p) for name, p in held[0].items()})


def actor(lib: Jax, script: Actor) -> Run:
    jax, relu, tanh = lib.jax, lib.jax.nn.relu, lib.jnp.tanh

    def gradients(p: Tree, x: Any, liked: Any) -> tuple[Any, Tree]:
        y, back = jax.vjp(lambda p, x: lib.forward(p, x, [relu, relu, tanh]), p, x)
        grads, grad_x = back((y - liked) / len(x))
        return grad_x, grads

    adam = lib.optax.adam(RATE, eps=EPS)
    return lib.trained(script.start, adam, gradients, script.batches, script.follow)


def words(lib: Jax, script: Words) -> Run:
    def loss(p: Tree, centre: Any, others: Any, is_context: Any) -> Any:
        scores = lib.jnp.einsum("nd,nkd->nk", p["inner"][centre], p["outer"][others])
        return lib.optax.sigmoid_binary_cross_entropy(scores, is_context).sum() / script.pairs

    batches = [(c, others, script.is_context) for c, others in script.batches]
    gradients = lib.jax.value_and_grad(loss)
    return lib.trained(script.start, lib.optax.adam(RATE, eps=EPS), gradients, batches)


def characters(lib: Jax, script: Characters) -> Run:
    jax, jnp = lib.jax, lib.jnp

    def loss(p: Tree, inputs: Any, targets: Any) -> Any:
        def one(h: Any, letter: Any) -> Any:
            h = jnp.tanh(p["wx"][letter] + h @ p["wh"] + p["b"])
            return h, h

        _, h = jax.lax.scan(one, jnp.zeros(script.states), inputs)
        return lib.cross_entropy(h @ p["wy"] + p["by"], targets).sum()

    optimizer = lib.optax.chain(lib.optax.clip(CLIP), lib.adagrad(DESCENT, ADAGRAD_EPS))
    return lib.trained(script.start, optimizer, jax.value_and_grad(loss), script.batches)


def layer(lib: Jax, script: Layer) -> Run:
    """The input's product is one for all steps, as a careful user writes it."""
    jax, jnp, nn, k = lib.jax, lib.jnp, lib.jax.nn, script.shape[-1]

    def rnn(p: Tree, h: Any, a: Any) -> Any:
        h = jnp.tanh(a + h @ p["wh"])
        return h, h

    def lstm(p: Tree, state: Any, a: Any) -> Any:
        h, c = state
        i, f, o, g = jnp.split(a + h @ p["wh"], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(p: Tree, h: Any, a: Any) -> Any:
        rz = nn.sigmoid(a[..., : 2 * k] + h @ p["wh"][:, : 2 * k])
        r, z = jnp.split(rz, 2, axis=-1)
        n = jnp.tanh(a[..., 2 * k :] + (r * h) @ p["wh"][:, 2 * k :])
        h = (1 - z) * n + z * h
        return h, h

    one = {"rnn": rnn, "lstm": lstm, "gru": gru}[script.cell]

    def run(p: Tree, x: Any, h0: Any) -> Any:
        state = (h0, h0) if script.cell == "lstm" else h0
        a = x @ p["wx"] + p["b"]
        return jax.lax.scan(lambda state, a: one(p, state, a), state, a)[1]

    def gradients(p: Tree, x: Any, h0: Any, grad: Any) -> tuple[Any, Tree]:
        h, back = jax.vjp(lambda p, x: run(p, x, h0), p, x)
        grads, grad_x = back(grad)
        return (h, grad_x), grads

    start = script.together(script.start)
    data = [(script.x, script.h0, script.grad)]
    return lib.trained(start, lib.optax.sgd(DESCENT), gradients, data)


def alone(lib: Jax, script: Alone) -> Run:
    optimizers: dict[str, Callable[[], Any]] = {
        "Adam": lambda: lib.optax.adam(RATE, eps=EPS),
        "SGD with momentum": lambda: lib.optax.sgd(RATE, momentum=0.9),
        "RMSprop": lambda: lib.optax.rmsprop(RATE, decay=0.99, eps=EPS, eps_in_sqrt=False),
        "Adagrad": lambda: lib.adagrad(RATE, EPS),
    }

    def given(_: Tree, grads: Tree) -> tuple[Any, Tree]:
        return 0.0, grads

    return lib.trained(script.start, optimizers[script.title](), given, [(script.grads,)])


STEPS: dict[type[Script], Callable[[Jax, Any], Run]] = {
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
