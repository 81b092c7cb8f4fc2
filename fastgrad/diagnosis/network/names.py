"""The right line of NumPy for each step of a script, in its layout and under its names.

A mistake is mended by writing its step's line: one line per step, not one per mistake.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Names"]

Slot = tuple[str, int]

# The derivative as scripts write it; others are taken from fastgrad.
SLOPES = {
    "tanh": "(1 - {a}**2)",
    "sigmoid": "{a} * (1 - {a})",
    "relu": "({z} > 0)",
    "leaky_relu": "np.where({z} > 0, 1, 0.01)",
    "elu": "np.where({z} > 0, 1, {a} + 1)",
    "softplus": "(1 - np.exp(-{a}))",
    "softsign": "(1 - np.abs({a})) ** 2",
    "exp": "{a}",
}
VALUES = {
    "tanh": "np.tanh({z})",
    "sigmoid": "1 / (1 + np.exp(-{z}))",
    "relu": "np.maximum({z}, 0)",
    "exp": "np.exp({z})",
    "identity": "{z}",
}
# Of the terms of losses, as a function of pred and target; others are taken from fastgrad.
TERMS = {
    "mse": "2 * ({p} - {t})",
    "mae": "np.sign({p} - {t})",
    "log_cosh": "np.tanh({p} - {t})",
    "binary_cross_entropy_with_logits": "(1 / (1 + np.exp(-{p})) - {t})",
    "sum": "np.ones_like({p})",
    "squared_l2": "2 * {p}",
}


def made(activation: str) -> str:
    """Return how to write an activation in a line: ``leaky_relu.with_(slope=0.2)``."""
    return activation.replace("(", ".with_(", 1)


class Names:
    """What a script's arrays are called, and the lines that compute them."""

    def __init__(self, samples: str, keys: dict[Slot, Any] | None = None) -> None:
        self.columns = samples == "columns"
        self.keys = keys or {}
        self.own: dict[Slot, str] = {}

    def gradients(self, keys: dict[Slot, Any]) -> None:
        """Take the names of a dict's gradients, if they are names of their own."""
        self.own = {
            slot: key
            for slot, key in keys.items()
            if isinstance(key, str) and key.isidentifier() and key != self.keys.get(slot)
        }

    def parameter(self, role: str, layer: int) -> str:
        """Return the name of w or b."""
        key = self.keys.get((role, layer))
        if isinstance(key, str) and key.isidentifier():
            return key
        return f"{'W' if role == 'w' else 'b'}{layer}"

    def gradient(self, role: str, layer: int) -> str:
        """Return the name of dw or db."""
        return self.own.get((role, layer), f"d{self.parameter(role, layer)}")

    def input(self, layer: int) -> str:
        """Return the name of a layer's input."""
        return f"a{layer - 1}" if layer > 1 else "x"

    # -- the lines ------------------------------------------------------------------------------
    def weights(self, layer: int, l2: float = 0.0, l1: float = 0.0) -> str:
        """Return the line of dw."""
        w, before = self.parameter("w", layer), self.input(layer)
        product = f"dz{layer} @ {before}.T" if self.columns else f"{before}.T @ dz{layer}"
        penalty = f" + {l2:.12g} * {w}" if l2 else ""
        penalty += f" + {l1:.12g} * np.sign({w})" if l1 else ""
        return f"{self.gradient('w', layer)} = {product}{penalty}"

    def bias(self, layer: int, shape: tuple[int, ...]) -> str:
        """Return the line of db."""
        keep = ", keepdims=True" if len(shape) == 2 else ""
        total = f"dz{layer}.sum(axis={int(self.columns)}{keep})"
        if len(shape) == 2 and (shape[1] == 1) != self.columns and max(shape) > 1:
            total += ".T"
        return f"{self.gradient('b', layer)} = {total}"

    def back(self, layer: int) -> str:
        """Return the line of da of the layer before."""
        w, before = self.parameter("w", layer), f"da{layer - 1}"
        product = f"{w}.T @ dz{layer}" if self.columns else f"dz{layer} @ {w}.T"
        return f"{before} = {product}"

    def activation(self, layer: int, act: Any, masked: bool) -> str:
        """Return the line of dz, given da."""
        a, z, incoming = f"a{layer}", f"z{layer}", f"da{layer}"
        if masked:
            a, incoming = f"y{layer}", f"{incoming} * mask{layer}"
        axis = 1 - int(self.columns)
        if act.rowwise:
            total = f"({incoming} * {a}).sum(axis={axis}, keepdims=True)"
            return f"dz{layer} = {a} * ({incoming} - {total})"
        if act.name == "identity":
            return f"dz{layer} = {incoming}"
        slope = SLOPES.get(act.name, f"fg.{made(act.name)}.derivative({{z}})").format(a=a, z=z)
        return f"dz{layer} = {incoming} * {slope}"

    def loss(self, layers: int, loss: Any, classes: bool, direct: bool) -> str:
        """Return the line of the loss's gradient; `direct` if it is also dz of the last layer."""
        pred, into = f"a{layers}", f"dz{layers}" if direct else f"da{layers}"
        count = {"sum": "", "mean": f" / {pred}.size"}.get(loss.reduction, "")
        if loss.reduction == "samples" or (loss.reduction == "mean" and loss.rowwise):
            count = f" / {pred}.shape[1]" if self.columns else f" / len({pred})"
        if loss.name == "softmax_cross_entropy":
            axis = 1 - int(self.columns)
            e = f"np.exp({pred} - {pred}.max(axis={axis}, keepdims=True))"
            p = f"{e} / {e}.sum(axis={axis}, keepdims=True)"
            width = f"{pred}.shape[{axis}]"
            hot = f"np.eye({width})[target]{'.T' if self.columns else ''}" if classes else "target"
            return f"{into} = ({p} - {hot}){count}"
        if loss.name in TERMS:
            return f"{into} = {TERMS[loss.name].format(p=pred, t='target')}{count}"
        target = "target, " if loss.takes_target else ""
        samples = ", samples='columns'" if self.columns else ""
        call = f"value_and_grad({pred}, {target}{loss.reduction!r}{samples})"
        return f"{into} = fg.losses.{loss.name}.{call}[1]"

    def pre_activation(self, layer: int, biased: bool) -> str:
        """Return the line of z."""
        w, before = self.parameter("w", layer), self.input(layer)
        product = f"{w} @ {before}" if self.columns else f"{before} @ {w}"
        return f"z{layer} = {product}" + (f" + {self.parameter('b', layer)}" if biased else "")

    def output(self, layer: int, act: Any, masked: bool) -> str:
        """Return the line of a."""
        z, axis = f"z{layer}", 1 - int(self.columns)
        value = VALUES.get(act.name, f"fg.{made(act.name)}({{z}})").format(z=z)
        if act.rowwise:
            e = f"np.exp({z} - {z}.max(axis={axis}, keepdims=True))"
            value = f"{e} / {e}.sum(axis={axis}, keepdims=True)"
        if masked:
            return f"y{layer} = {value}; a{layer} = y{layer} * mask{layer}"
        return f"a{layer} = {value}"
