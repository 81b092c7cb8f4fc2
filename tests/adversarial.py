"""Generate hostile calls and judge them; run as a script by test_adversarial, in processes.

A case is one call of one operation in which something is odd: the form or dtype of its arrays,
the numbers in them, an argument of a wrong kind or shape, `out`, an option, or the cache. It is
made from its number alone, so that ``python tests/adversarial.py 1234 1`` runs it again.

Right is either the answer of a canonical copy (C-contiguous native arrays of one dtype) to the
bit, close to the NumPy reference, or the documented error: TypeError or ValueError with a text
that starts with the function's name and names the argument. Inputs, and outputs of refused calls,
stay as they were. Warnings are errors.

What is attacked: `OPERATIONS` of operations.py. With what: `hostile_arrays`.
"""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from conftest import Array, same_bits
from hostile_arrays import (
    BAD_OUTS,
    BAD_VALUES,
    CACHE_DAMAGE,
    DTYPES,
    FLOATS,
    HOSTILE,
    SPECIALS,
    WRITABLE,
    Guard,
    hostile,
    numbers,
    pick,
    special,
)
from operations import OPERATIONS as FUNCTIONS
from operations import Operation, Rng, Values, are_probabilities
from operations_network import OPERATIONS as METHODS
from tolerances import TAME_U, U

import fastgrad as fg
from fastgrad import reference
from fastgrad.activations import BUILT_IN

OPERATIONS = {**FUNCTIONS, **METHODS}

# -- canonical calls -----------------------------------------------------------------------------


def clean(value: Any) -> Array:
    """Return a C-contiguous native copy."""
    array = np.asarray(value)
    return np.array(array, array.dtype.type, order="C", copy=True, subok=False)


def promoted(*dtypes: Any) -> Any:
    """Return NumPy's promotion, but float64 where there are only ints and bools."""
    floating = any(dtype.kind == "f" for dtype in dtypes)
    return np.result_type(*dtypes) if floating else np.dtype(np.float64)


def canonical(op: Operation, values: Values, options: dict[str, Any]) -> tuple[Values, Any]:
    """Return clean copies, each group in the dtype it is computed in, and the results' dtype."""
    copies = {name: clean(v) for name, v in values.items()}
    labels = {"target"} if options.get("labels") else set()
    dtypes = {n: a.dtype for n, a in copies.items() if n not in labels}
    early = [t for n, t in dtypes.items() if n not in op.late]
    for name, dtype in dtypes.items():
        work = promoted(*early) if name not in op.late else dtype
        if work.kind != "f":
            work = promoted(*early, dtype)
        copies[name] = copies[name].astype(np.result_type(work, np.float32))
    for name in labels:
        copies[name] = np.array(values[name], np.int64)
    if op.result in ("dtype", "params", "inputs"):  # everything is in the network's
        floating = {n: a for n, a in copies.items() if n not in labels}
        copies |= in_dtype(floating, options["dtype"])
        of = {"params": "params", "inputs": "x"}.get(op.result)
        wide = of is not None and dtypes[of] == np.float64
        return copies, np.dtype(np.float64 if wide else options["dtype"])
    if op.result is None:
        return copies, promoted(*dtypes.values())
    if op.result not in dtypes:
        return copies, np.dtype(op.result)
    result = dtypes[op.result]
    return copies, result if result.kind == "f" else promoted(*dtypes.values())


def in_dtype(results: Values, dtype: Any) -> Values:
    with np.errstate(all="ignore"):
        return {n: v.astype(dtype) if isinstance(v, np.ndarray) else v for n, v in results.items()}


def equal_bits(a: Any, b: Any) -> bool:
    """Return whether two results are the same; a NaN is a NaN whatever its sign and payload."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    nan = np.isnan(a)
    if not (nan == np.isnan(b)).all():
        return False
    return same_bits(np.where(nan, 0, a), np.where(nan, 0, b))


def close(got: Any, expected: Any, work: str) -> bool:
    """Return whether two implementations agree: see TAME_U."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        return False
    wide, truth = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(wide) & np.isfinite(truth)
    size = max(1.0, np.abs(truth[finite]).max(initial=0.0))
    unit = U["float16"] * 4 if got.dtype == np.float16 else TAME_U * U[work]
    error = np.abs(wide[finite] - truth[finite])
    same = (wide == truth) | (np.isnan(wide) & np.isnan(truth)) | finite
    return bool((error <= unit * size).all() and same.all())


# -- cases -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One call, and what it must do."""

    title: str
    name: str
    values: Values
    options: dict[str, Any]
    out: Values
    refused: tuple[str, ...] = ()  # words of the error's text; none: an answer is due
    caller: str = ""
    tame: bool = True  # comparable with the reference
    either: bool = False  # an answer is as good as an error, if it is right


class Wrong(Exception):
    """The case did something else than it must."""


def base(rng: Rng, name: str, mixed: bool) -> tuple[Values, dict[str, Any]]:
    """Return ordinary arguments of an operation, of one float dtype or of any dtypes."""
    op, options = OPERATIONS[name], {}
    shapes = op.shapes(rng, options)
    dtype = pick(rng, FLOATS)
    values = {n: numbers(rng, s, pick(rng, DTYPES) if mixed else dtype) for n, s in shapes.items()}
    if "y" in values and "activation" in options:  # an output: that of relu is not negative
        values["y"] = np.asarray(abs(values["y"]))
    if op.tweak:
        op.tweak(rng, values, options)
    return values, options


def plain(values: Values) -> Values:
    return {n: np.array(v) for n, v in values.items()}


def make_outs(rng: Rng, name: str, values: Values, options: dict[str, Any]) -> Values:
    """Return outputs of the right shapes and dtype, with numbers in them."""
    op = OPERATIONS[name]
    copies, dtype = canonical(op, values, options)
    results = op.run(fg, copies, {**options, "accumulate": False}, {})
    chosen = [n for n, v in results.items() if isinstance(v, np.ndarray)]
    return {
        n: numbers(rng, results[n].shape, dtype.name) for n in chosen if rng.random() < 0.8 or
        len(chosen) == 1
    }  # fmt: skip


def form_case(rng: Rng, name: str) -> Case:
    values, options = base(rng, name, mixed=rng.random() < 0.5)
    titles = []
    for argument in values:
        values[argument], form = hostile(rng, values[argument])
        titles.append(f"{argument} {form}")
    out = {}
    if OPERATIONS[name].outs and rng.random() < 0.3 and "refused" not in options:
        for n, array in make_outs(rng, name, values, options).items():
            form = pick(rng, WRITABLE if array.ndim else ("clean", "unaligned", "metadata"))
            out[n] = HOSTILE[form](rng, array)
            titles.append(f"out {n} {form}")
    return Case(", ".join(titles), name, values, options, out, options.pop("refused", ()))


def value_case(rng: Rng, name: str) -> Case:
    values, options = base(rng, name, mixed=False)
    # Differences of the largest numbers vanish, which is refused.
    kind = pick(rng, [k for k in SPECIALS if OPERATIONS[name].twin or k != "largest"])
    floats = [n for n, v in values.items() if v.dtype.kind == "f"]
    for argument in {pick(rng, floats), pick(rng, floats)}:
        values[argument] = special(rng, values[argument], kind)
    if "loss" in options and not are_probabilities(values, options):
        options["refused"] = ("target",)
    for argument in floats:
        values[argument], _ = hostile(rng, values[argument])
    return Case(
        f"{kind} numbers", name, values, options, {}, options.pop("refused", ()), tame=False
    )


def bad_value_case(rng: Rng, name: str) -> Case:
    values, options = base(rng, name, mixed=False)
    # The tree of one number is a tree: these take it.
    trees = {"mapping"} if name in ("numerical_grad", "check_grad") else set()
    argument, kind = pick(rng, values), pick(rng, [k for k in BAD_VALUES if k not in trees])
    outs = untouched(rng, name, values, options)
    values[argument] = BAD_VALUES[kind](values[argument])
    return Case(f"{argument} {kind}", name, values, options, outs, (argument,), argument)


def bad_shape_case(rng: Rng, name: str) -> Case:
    values, options = base(rng, name, mixed=False)
    argument = pick(rng, values)
    bad = OPERATIONS[name].bad_shapes(argument, values[argument].shape, options)
    if not bad:
        return form_case(rng, name)
    outs = untouched(rng, name, values, options)
    shape = pick(rng, bad)
    values[argument] = np.zeros(shape, values[argument].dtype)
    return Case(f"{argument} of shape {shape}", name, values, options, outs, (argument,), argument)


def untouched(rng: Rng, name: str, values: Values, options: dict[str, Any]) -> Values:
    """Return outputs for a call that will be refused."""
    if OPERATIONS[name].outs and rng.random() < 0.5 and "refused" not in options:
        return make_outs(rng, name, values, options)
    return {}


def option_case(rng: Rng, name: str) -> Case:
    op = OPERATIONS[name]
    values, options = base(rng, name, mixed=False)
    rowwise = options.get("activation") == "softmax"
    usable = [n for n in op.bad_options if n != "axis" or rowwise]
    if not usable:
        return form_case(rng, name)
    option = pick(rng, usable)
    outs = untouched(rng, name, values, options) if option not in ("out", "cache") else {}
    value = pick(rng, op.bad_options[option])
    title = f"{option}={value!r}"
    if option == "cache":
        damage = {**options, "damage": lambda cache: value}
        return Case(title, name, values, damage, {}, ("cache",))
    if option == "out":
        if isinstance(value, dict):
            options["need"] = tuple(pick(rng, ["xw", "xwz"]))
        return Case(title, name, values, options, value, ("out",))
    return Case(title, name, values, {**options, option: value}, outs, (option,), option)


def bad_out_case(rng: Rng, name: str) -> Case:
    """Return a call with one output that is wrong, and others that must stay as they are."""
    op = OPERATIONS[name]
    if not op.outs:
        return bad_value_case(rng, name)
    values, options = base(rng, name, mixed=False)
    outs = make_outs(rng, name, values, options) if "refused" not in options else {}
    if not outs:
        return bad_value_case(rng, name)
    which = pick(rng, outs)
    good = outs[which]
    kind = pick(rng, BAD_OUTS)
    inputs = {n: v for n, v in values.items() if n not in op.earlier}
    bad = BAD_OUTS[kind](rng, good, inputs)
    values |= inputs  # some are moved
    if bad is None:  # does not exist for this shape
        return bad_shape_case(rng, name)
    outs[which] = bad
    return Case(f"out {which}: {kind}", name, values, options, outs, (op.outs.format(which),))


def cache_case(rng: Rng, name: str) -> Case:
    """Return a backward call whose cache no longer is what dense_forward returned."""
    name = "dense_backward"
    values, options = base(rng, name, mixed=False)
    options["activation"] = pick(rng, BUILT_IN)
    fields = [f for f in ("x", "w", "b", "saved") if f != "b" or "b" in values]
    field, kind = pick(rng, fields), pick(rng, CACHE_DAMAGE)
    damage = CACHE_DAMAGE[kind]

    def apply(cache: Any) -> Any:
        return cache._replace(**{field: damage(getattr(cache, field))})

    case = Case(f"cache.{field} {kind}", name, values, {**options, "damage": apply}, {}, ("cache",))
    if kind == "same in another form":
        return case._replace(refused=())
    # What is not looked at (w where only z is needed, say) may be anything.
    return case._replace(refused=("cache|x|w|b",), either=True)


KINDS: dict[str, tuple[Callable[[Rng, str], Case], int]] = {
    "form": (form_case, 5),
    "values": (value_case, 2),
    "bad value": (bad_value_case, 2),
    "bad shape": (bad_shape_case, 2),
    "option": (option_case, 1),
    "bad out": (bad_out_case, 3),
    "cache": (cache_case, 1),
}
WEIGHTED = [kind for kind, (_, weight) in KINDS.items() for _ in range(weight)]


def generate(number: int) -> tuple[str, Case]:
    """Return case `number`: operations and kinds in turn, the rest by its generator."""
    name = list(OPERATIONS)[number % len(OPERATIONS)]
    kind = WEIGHTED[number // len(OPERATIONS) % len(WEIGHTED)]
    return kind, KINDS[kind][0](np.random.default_rng([4, number]), name)


# -- judging -----------------------------------------------------------------------------------


def judge(case: Case) -> None:
    """Make the call; raise Wrong unless it does what it must."""
    op = OPERATIONS[case.name]
    outs = case.out if isinstance(case.out, dict) else {}
    before = {n: np.array(a) for n, a in outs.items() if isinstance(a, np.ndarray)}
    inputs = Guard(v for v in case.values.values())
    outputs = Guard(v for v in outs.values())
    try:
        got = op.run(fg, case.values, case.options, case.out)
    except (TypeError, ValueError) as error:
        if not case.refused:
            raise Wrong(f"refused: {error!r}") from error
        check_text(op, case, error)
        if not outputs.intact():
            raise Wrong("wrote to an output of a refused call") from None
        got = None
    if not inputs.intact():
        raise Wrong("wrote to an input")
    if got is None:
        return
    if case.refused and not case.either:
        raise Wrong(f"not refused: {got}")
    for n, array in outs.items():
        if got[n] is not array:
            raise Wrong(f"result {n} is not out")
    copies, dtype = canonical(op, case.values, case.options)
    options = {n: v for n, v in case.options.items() if n != "damage"}
    adds = bool(options.get("accumulate"))
    again = {n: a.copy() for n, a in before.items() if adds}
    if dtype != np.float16 or not again:  # sums in float16 are not sums in float32
        expected = in_dtype(op.run(fg, copies, options, again), dtype)
        check_results("a canonical copy", got, expected, equal_bits)
    if op.twin and case.tame:
        twins = plain(case.values)
        again = {n: a.copy() for n, a in before.items()}
        truth = op.run(reference, twins, options, again)
        work = "float32" if dtype == np.float16 else dtype.name
        if any(a.dtype == np.float32 for a in copies.values()):
            work = "float32"
        check_results("the reference", got, truth, lambda a, b: close(a, b, work))
    for n, array in outs.items():  # nothing else than the elements was written
        array[...] = before[n]
    if not outputs.intact():
        raise Wrong("wrote beside an output")


def check_text(op: Operation, case: Case, error: Exception) -> None:
    caller = op.callers.get(case.caller, op.callers[""]).format(**case.options)
    text = str(error)
    if not text.startswith(f"{caller}: "):
        raise Wrong(f"text does not start with {caller}: {text!r}") from error
    for word in case.refused:
        if not re.search(rf"\b({word})\b", text[len(caller) + 2 :]):
            raise Wrong(f"text does not name {word}: {text!r}") from error


def check_results(
    whose: str, got: Values, expected: Values, same: Callable[[Any, Any], bool]
) -> None:
    if set(got) != set(expected):
        raise Wrong(f"results {sorted(got)}, of {whose} {sorted(expected)}")
    for n, value in got.items():
        if not same(value, expected[n]):
            raise Wrong(f"{n} differs from {whose}:\n{value!r}\n{expected[n]!r}")


def main(first: int, count: int) -> int:
    """Run cases and print each one's title before its call; return how many went wrong."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", fg.TrainingWarning)  # of data that are not finite
    wrong = 0
    for number in range(first, first + count):
        kind, case = generate(number)
        print(f"case {number}: {case.name}, {kind}: {case.title}", flush=True)
        try:
            judge(case)
        except Wrong as error:
            wrong += 1
            print(f"WRONG case {number}: {error}", flush=True)
        except Exception:
            wrong += 1
            print(f"WRONG case {number}: {traceback.format_exc()}", flush=True)
    print(f"done: {count} cases, {wrong} wrong", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2])), 1))
