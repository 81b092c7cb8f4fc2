"""The diagnosis of a network that an MLP describes: read, explained, put into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastgrad.arguments import check_number
from fastgrad.arrays import Array, as_array
from fastgrad.diagnosis.network.calls import Called, call_twice
from fastgrad.diagnosis.network.explain import Evidence, Explanation, explain
from fastgrad.diagnosis.network.functions import act_of, loss_of
from fastgrad.diagnosis.network.model import Model
from fastgrad.diagnosis.network.named import UNEXPLAINED, Named
from fastgrad.diagnosis.network.relations import relations
from fastgrad.diagnosis.network.script import Script, read_gradients, read_parameters
from fastgrad.diagnosis.network.training_steps import model_with
from fastgrad.diagnosis.network.walk import Given, Slot, Walk
from fastgrad.diagnosis.report import ArrayVerdict, Diagnosis, Finding
from fastgrad.networks.shared.samples import checked_samples

__all__ = ["diagnose_network"]

FUNCTION = "diagnose"
UNITS = {2: 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}  # unit roundoff by the bytes of a dtype
KNOWN = re.compile(r"(dz|da|z|a|y|mask)_?(\d+)")


def diagnose_network(
    net: Any,
    params: Any,
    grads: Any,
    x: Any,
    target: Any,
    value: float | None = None,
    intermediates: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Return the diagnosis of a hand-written gradient of a network.

    Arguments are those of `diagnose`; `net` is an MLP of any package.
    """
    if net.normalize is not None:
        raise ValueError(
            f"{FUNCTION}: net has normalize={net.normalize!r}, but mistakes are known for dense "
            "layers: give diagnose(loss, params, grads) the loss as a function of params"
        )
    script = read_parameters(net, params)
    rows, targets, classes = _samples(net, x, target)
    arrays = _intermediates(net, intermediates, len(rows))
    if value is not None:
        value = float(check_number(FUNCTION, "value", value))
    model = _model(net, script, rows, targets, arrays["mask"])
    called = None
    if callable(grads):
        data = {n: a for n, a in (("x", x), ("target", target)) if isinstance(a, np.ndarray)}
        called = call_twice(script, grads, data)
        found, names = called.second, called.names
    else:
        found, names = read_gradients(script, grads)
    case = _Case(script, model, names, classes)
    given = case.read(found, arrays["dz"], arrays["da"])
    unit = max(_unit(a) for a in found.values())
    if unit < UNITS[4] and _holds_float32(given):
        unit = UNITS[4]
    forward = {(n, i): a for n in ("z", "y", "a") for i, a in arrays[n].items()}
    evidence = Evidence(given, unit, value, forward)
    if called is not None:
        case.of_calls(called, evidence)
    explained = explain(model, evidence)
    if explained.cost > 1.0 and unit < UNITS[4]:
        coarse = Walk(model, UNITS[4], given)
        if coarse.ok:
            case.notes.append(
                "The gradient has the digits of float32, though its dtype is wider: somewhere the "
                "script computes in float32. That is no mistake."
            )
            evidence.unit = UNITS[4]
            explained = explain(model, evidence)
    return case.diagnosis(explained, evidence)


def _unit(array: Array) -> float:
    """Return the unit roundoff of an array's dtype; integers are exact."""
    return UNITS.get(array.dtype.itemsize, UNITS[8]) if array.dtype.kind == "f" else UNITS[8]


def _samples(net: Any, x: Any, target: Any) -> tuple[Array, Array | None, bool]:
    """Return x and target in float64, a sample per row, and whether targets were classes."""
    x = as_array(FUNCTION, "x", x)
    target = None if target is None else as_array(FUNCTION, "target", target)
    samples = checked_samples(net._network, FUNCTION, x, target)
    if not len(samples.x):
        raise ValueError(f"{FUNCTION}: x has shape {x.shape}: give at least one sample")
    rows = np.ascontiguousarray(samples.x, np.float64)
    if samples.target is None or target is None:
        return rows, None, False
    if samples.labels:
        return rows, np.eye(net.sizes[-1])[samples.target], True
    return rows, np.ascontiguousarray(samples.target, np.float64), False


def _intermediates(
    net: Any, given: Mapping[str, Any] | None, n: int
) -> dict[str, dict[int, Array]]:
    """Return a script's intermediates by kind and layer, a sample per row."""
    found: dict[str, dict[int, Array]] = {k: {} for k in ("z", "a", "y", "dz", "da", "mask")}
    if given is not None and not isinstance(given, Mapping):
        kind = type(given).__name__
        raise TypeError(f'{FUNCTION}: intermediates is a {kind}: give a dict, {{"z1": z1}}')
    for name, array in (given or {}).items():
        match = KNOWN.fullmatch(str(name))
        layer = int(match[2]) if match else 0
        if match is None or not 1 <= layer < len(net.sizes):
            raise ValueError(
                f"{FUNCTION}: intermediates has {name!r}: give names such as 'z1', 'a1', 'dz1', "
                f"'da1' or 'mask1', of layers 1 to {len(net.sizes) - 1}"
            )
        array = np.asarray(as_array(FUNCTION, f"intermediates[{name!r}]", array))
        k = net.sizes[layer]
        shape = (k, n) if net.samples == "columns" else (n, k)
        if array.shape != shape and not (n == 1 and array.shape == (k,)):
            raise ValueError(
                f"{FUNCTION}: intermediates[{name!r}] has shape {array.shape} but layer {layer} "
                f"has shape {shape}"
            )
        rows = array.T if net.samples == "columns" and array.ndim == 2 else array
        found[match[1]][layer] = np.ascontiguousarray(rows.reshape(n, k), np.float64)
    return found


def _model(
    net: Any, script: Script, x: Array, target: Array | None, masks: dict[int, Array]
) -> Model:
    layers = len(net.sizes) - 1
    w = [x, *(script.as_rows(("w", i), script.values["w", i]) for i in range(1, layers + 1))]
    b: list[Array | None] = [None]
    for i in range(1, layers + 1):
        value = script.values.get(("b", i))
        b.append(None if value is None else script.as_rows(("b", i), value))
    acts = [act_of(a) for a in net.activations]
    loss = loss_of(net.loss, net.reduction)
    l1, l2 = float(getattr(net, "l1", 0.0)), float(getattr(net, "l2", 0.0))
    with np.errstate(all="ignore"):
        model = Model([acts[0], *acts], loss, w, b, x, target, l1, l2, masks)
    if not np.isfinite(model.value):
        raise ValueError(
            f"{FUNCTION}: the loss of these parameters is {model.value}: give finite params, x and "
            "target, at which the network does not overflow"
        )
    return model


def _holds_float32(given: Given) -> bool:
    """Return whether all gradients are numbers of float32, as if converted from it."""
    arrays = given.gradients.values()
    if not any((a != 0).any() for a in arrays):
        return False
    with np.errstate(all="ignore"):
        return all(bool((a == a.astype(np.float32)).all()) for a in arrays)


class _Case:
    """One diagnosis on its way: names, findings made so far, notes."""

    def __init__(self, script: Script, model: Model, names: dict[Slot, str], classes: bool) -> None:
        self.script, self.model, self.names, self.classes = script, model, names, classes
        self.findings: list[Finding] = []
        self.notes: list[str] = []

    # -- reading --------------------------------------------------------------------------------
    def read(
        self, found: dict[Slot, Array], grad_z: dict[int, Array], grad: dict[int, Array]
    ) -> Given:
        """Return the gradients in rows; arrays of a wrong shape are findings of their own."""
        gradients = {}
        for slot in self.script.slots:
            array, shape = found[slot], self.script.shapes[slot]
            gradients[slot] = (
                self.script.as_rows(slot, array)
                if array.shape == shape
                else self._of_wrong_shape(slot, array, shape)
            )
        return Given(gradients, grad_z, grad)

    def _of_wrong_shape(self, slot: Slot, array: Array, shape: tuple[int, ...]) -> Array:
        role, layer = slot
        n, k, columns = self.model.n, self.model.width(layer), self.script.columns
        name, is_bias = self.names[slot], role == "b"
        if is_bias and array.shape == ((k, n) if columns else (n, k)):
            self._add(slot, "not summed",
                      f"{name} has shape {array.shape}, a gradient per sample: dz{layer}, not "
                      "summed over the batch.")  # fmt: skip
            return np.asarray(array.astype(np.float64).sum(axis=1 if columns else 0))
        if is_bias and array.size == k:
            self._add(slot, "shape",
                      f"{name} has shape {array.shape} but its bias has shape {shape}: the two "
                      "broadcast against each other.")  # fmt: skip
            return array.astype(np.float64).reshape(-1)
        if is_bias and array.size == 1:
            self._add(slot, "one number",
                      f"{name} has shape {array.shape}: one number for {k} outputs: it is summed "
                      "over the outputs, too.")  # fmt: skip
            return self._placeholder(slot)
        if not is_bias and array.shape == shape[::-1]:
            self._add(slot, "transposed",
                      f"{name} has shape {array.shape} but its weights have shape {shape}: it is "
                      "transposed.")  # fmt: skip
            return self.script.as_rows(slot, array.T)
        raise ValueError(
            f"{FUNCTION}: {name} has shape {array.shape} but "
            f"{self.script.names.parameter(role, layer)} has shape {shape}: give the same shape"
        )

    def _placeholder(self, slot: Slot) -> Array:
        """Return the right array, for one that says nothing about what lies before it."""
        made: Array = self.model.gradients()[1][slot[1]]
        return made

    def _add(self, slot: Slot, kind: str, evidence: str) -> None:
        step = "weights" if slot[0] == "w" else "bias"
        hint = self._line(Named(kind, step, slot[1], "", 0.0))
        self.findings.append(Finding(self.names[slot], kind, slot[1], evidence, hint))

    def of_calls(self, called: Called, evidence: Evidence) -> None:
        """Add what two calls show: arrays that were changed, and the model of the first call."""
        kinds = {what: [n for n, w in called.changed if w == what] for _, what in called.changed}
        for what, names in kinds.items():
            words = (
                f"The call changed {', '.join(names)} in place: what it returns next time is of "
                "other numbers."
            )
            copies = "; ".join(f"{name} = {name}.copy()" for name in names)
            where = "params" if what == "params" else names[0]
            self.findings.append(
                Finding(where, f"{what} changed", None, words, f"{copies}  # before they change")
            )
        elsewhere = {s: self.script.as_rows(s, a) for s, a in called.elsewhere.items()}
        evidence.before = model_with(self.model, elsewhere)
        try:
            first = self.read(called.first, {}, {})
        except ValueError:
            return
        evidence.first = first.gradients
        del self.findings[len(kinds) :]

    # -- words ------------------------------------------------------------------------------------
    def diagnosis(self, e: Explanation, evidence: Evidence) -> Diagnosis:
        """Return the report."""
        right = e.walk
        if right.model is not self.model or right.given is not evidence.given:
            right = Walk(self.model, evidence.unit, evidence.given)
        findings = sorted(self.findings, key=lambda f: -(f.layer or np.inf))  # as they enter
        for slot in e.slots:
            findings.append(self._finding(slot, e))
        arrays = tuple(self._verdict(slot, right) for slot in self.script.slots)
        wrong = bool(findings) or any(a.verdict == "wrong" for a in arrays)
        notes = list(self.notes)
        digits = {UNITS[8]: "float64", UNITS[4]: "float32", UNITS[2]: "float16"}[evidence.unit]
        notes.append(
            f"Compared with the gradient in float64; the bounds are those of rounding in {digits}."
        )
        notes += [f"As good an explanation of all: {self._said(words)}." for words in e.equally]
        told = {f.array for f in findings}
        rest = [a.name for a in arrays if a.verdict == "wrong" and a.name not in told]
        if rest and e.cost < UNEXPLAINED:
            verb = "follows" if len(rest) == 1 else "follow"
            notes.append(f"Given this, {', '.join(rest)} {verb}: no mistakes of their own.")
        if e.lost:
            notes.append(
                "What lies before the array without explanation follows from it and was not judged."
            )
        return Diagnosis("wrong" if wrong else "ok", tuple(findings), arrays, tuple(notes))

    def _verdict(self, slot: Slot, right: Walk) -> ArrayVerdict:
        worst, relative = right.worst[slot]
        shape = self.script.shapes[slot]
        shown = relative.T if slot[0] == "w" and self.script.columns else relative
        told = any(f.array == self.names[slot] for f in self.findings)
        verdict = "wrong" if told or worst > 1.0 else "ok"
        return ArrayVerdict(self.names[slot], shape, worst, verdict, shown.reshape(shape))

    def _finding(self, slot: tuple[Named, ...], e: Explanation) -> Finding:
        first = slot[0]
        array = self._place(first)
        if first.kind == "unexplained":
            text, hint = self._unexplained(first, e)
            return Finding(array, first.kind, first.layer, text, hint)
        text = f"{self._said(first.sentence)}."
        if first.step != "value":
            apart = first.apart
            if apart == 0.0 and len(e.slots) == 1 and e.walk.ok:
                apart = max(float(relative.max()) for _, relative in e.walk.worst.values())
            exact = f"to {apart:.0e}" if apart > 0.0 else "to the bit"
            text += f" This gives the script's numbers {exact}"
            next_best = self._next_best(first, e)
            text += f"; the next best explanation differs by {next_best:.1g}." if next_best else "."
        others = {n.kind: n for n in reversed(slot) if n.kind != first.kind}
        for other in others.values():
            text += f" The same numbers: {self._said(other.sentence)} ({other.kind})."
        return Finding(array, first.kind, first.layer, text, self._line(first))

    def _said(self, text: str) -> str:
        """Return a sentence with the script's names of its arrays: dW1 for dw1."""

        def name(match: re.Match[str]) -> str:
            role, layer, names = match[2], int(match[3]), self.script.names
            return names.gradient(role, layer) if match[1] else names.parameter(role, layer)

        return re.sub(r"\b(d?)([wb])(\d+)\b", name, text)

    def _next_best(self, named: Named, e: Explanation) -> float | None:
        roles = {"weights": ("w",), "bias": ("b",)}.get(named.step, ("stem", "w", "b"))
        values = [e.walk.next_best.get((named.layer, role), np.inf) for role in roles]
        least = min(values)
        return least if np.isfinite(least) and least > 0 else None

    def _unexplained(self, named: Named, e: Explanation) -> tuple[str, str]:
        """Return what relation there is, and where to look."""
        if named.step in ("forward", "activation"):
            return f"{self._said(named.sentence)}.", self._line(named)
        if named.step == "value":
            return (
                f"{self._said(named.sentence)}.",
                "Compare the line of the loss with its formula.",
            )
        slot = ("w" if named.step in ("w", "weights") else "b", named.layer)
        right = e.walk.right[named.layer]
        words = relations(
            e.walk.given.gradients[slot], right.made[slot[0]], right.near[slot[0]],
            e.model.a[named.layer - 1], right.grad_z,
        )  # fmt: skip
        line = self._line(Named("", "weights" if slot[0] == "w" else "bias", named.layer, "", 0.0))
        return f"No known mistake gives these numbers. {words}", line

    def _place(self, named: Named) -> str:
        if named.step == "value":
            return "value"
        if named.step == "forward":
            return f"{'z' if named.sentence.startswith('z') else 'a'}{named.layer}"
        slot = ("b" if named.step in ("bias", "b") else "w", named.layer)
        return self.names[slot]

    def _line(self, named: Named) -> str:
        """Return the line of NumPy that mends a step."""
        names, m, i = self.script.names, self.model, named.layer
        own = [names.gradient(*slot) for slot in self.script.slots]
        if named.kind == "added up":
            return f"{' = '.join(own)} = 0  # before the way back"
        if named.kind == "swapped":
            one, two = re.findall(r"d([wb])(\d+)", named.sentence)
            pair = [names.gradient(role, int(layer)) for role, layer in (one, two)]
            return f"{pair[0]}, {pair[1]} = {pair[1]}, {pair[0]}"
        if named.kind in ("stale cache", "step before"):
            lines = [
                f"{names.pre_activation(j, m.b[j] is not None)}\n"
                f"{names.output(j, m.acts[j], j in m.masks)}"
                for j in range(1, m.layers + 1)
            ]
            return "\n".join(["# With these parameters, before the way back:", *lines])
        act, masked = m.acts[i], i in m.masks
        last = m.layers
        by_step: dict[str, Callable[[], str]] = {
            "loss": lambda: names.loss(last, m.loss, self.classes, m.acts[last].name == "identity"
                                       and last not in m.masks),
            "input": lambda: names.back(i + 1),
            "activation": lambda: names.activation(i, act, masked),
            "weights": lambda: names.weights(i, m.l2, m.l1),
            "bias": lambda: names.bias(i, self.script.shapes["b", i]),
            "forward": lambda: "; ".join([
                names.pre_activation(i, m.b[i] is not None), names.output(i, act, masked)]),
            "value": lambda: "Compare the line of the loss with its formula.",
        }  # fmt: skip
        line = by_step[named.step]()
        if named.step == "activation" and named.kind in ("factor", "sign", "zero") and i < last:
            line = f"{names.back(i + 1)}; {line}"
        return line
