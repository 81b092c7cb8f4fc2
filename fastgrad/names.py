"""Names that people know from elsewhere, and what they are called here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["choices"]

# By letters and digits alone.
_ELSEWHERE = {
    "linear": "None or 'identity'",
    "none": "None or 'identity'",
    "logistic": "'sigmoid'",
    "expit": "'sigmoid'",
    "swish": "'silu'",
    "lrelu": "'leaky_relu'",
    "bce": "'binary_cross_entropy_with_logits'",
    "bcewithlogits": "'binary_cross_entropy_with_logits'",
    "binarycrossentropy": "'binary_cross_entropy_with_logits', which takes logits",
    "logloss": "'binary_cross_entropy_with_logits' or 'softmax_cross_entropy'",
    "ce": "'softmax_cross_entropy'",
    "crossentropy": "'softmax_cross_entropy'",
    "categoricalcrossentropy": "'softmax_cross_entropy', which takes logits",
    "sparsecategoricalcrossentropy": "'softmax_cross_entropy', which takes logits and classes",
    "meansquarederror": "'mse'",
    "squarederror": "'mse'",
    "l2": "'mse' or 'squared_l2'",
    "meanabsoluteerror": "'mae'",
    "l1": "'mae'",
    "smoothl1": "'huber'",
}


def choices(name: str, known: Iterable[str]) -> str:
    """Return what to choose instead of `name`: what is meant, where that can be told, and all."""
    names = list(known)
    plain = _squeezed(name)
    if plain not in _ELSEWHERE:
        plain = plain.removesuffix("loss")
    ours = {_squeezed(other): other for other in names}
    meant = _ELSEWHERE.get(plain)
    # A network's losses and a layer's activations are different lists.
    if meant is not None and not any(f"'{other}'" in meant for other in names):
        meant = None
    near = difflib.get_close_matches(plain, ours, 1, 0.8)
    if meant is None and near:
        meant = repr(ours[near[0]])
    listed = f"choose from {', '.join(names)}"
    return listed if meant is None else f"did you mean {meant}? Else {listed}"


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
