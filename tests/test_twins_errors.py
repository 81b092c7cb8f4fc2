"""The twins refuse what fastgrad refuses, by the same error and in the same words.

The cases are those of `test_errors.py` and `test_out_refused.py`, which call functions of `fg`:
here that is reference, then loops.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import calls
import pytest
import test_errors
import test_out_refused
from twins import IMPLS

from fastgrad import loops

# What the twins do not have, or have otherwise.
NOT_THEIRS = {
    *("define: name", "define: no identifier", "define: built in", "define: no function"),
    *("warmup of a number", "a step of differences"),
    *("pack of a number", "a network larger than memory"),  # networks: test_twins_refuse.py
    *("cache of lists", "cache without a layer"),  # the fields of a cache are each one's own
    *("axis of an elementwise one", "unknown keyword"),  # refused by Python: no such parameter
}
# Loops call a user's function once per number.
NOT_OF_LOOPS = {"activation of another shape"}
THEIRS = [case for case in test_errors.CASES if case not in NOT_THEIRS]


@pytest.fixture(params=IMPLS, ids=lambda m: m.__name__.rsplit(".", 1)[-1], autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Let the cases call a twin."""
    impl: ModuleType = request.param
    for module in (calls, test_errors, test_out_refused):
        monkeypatch.setattr(module, "fg", impl)
    return impl


@pytest.mark.parametrize("case", THEIRS)
def test_texts(case: str, twin: ModuleType) -> None:
    if twin is not loops or case not in NOT_OF_LOOPS:
        test_errors.test_texts(case)


@pytest.mark.parametrize("argument", list(test_errors.ARGUMENTS))
@pytest.mark.parametrize("kind", [*test_errors.NO_NUMBERS, "masked"])
def test_what_is_no_array_of_numbers(kind: str, argument: str) -> None:
    test_errors.test_what_is_no_array_of_numbers(kind, argument)


@pytest.mark.parametrize("case", list(test_out_refused.overlapping()))
def test_out_must_not_overlap(case: str, twin: ModuleType) -> None:
    if twin is not loops or case != "grad_z over the saved y":  # loops save a list
        test_out_refused.test_out_must_not_overlap(case)


@pytest.mark.parametrize("bad", list(test_out_refused.BAD_OUT))
@pytest.mark.parametrize("function", list(test_out_refused.TAKES_OUT))
def test_out_must_fit(function: str, bad: str) -> None:
    test_out_refused.test_out_must_fit(function, bad)


@pytest.mark.parametrize("case", list(test_out_refused.LATE_ERRORS))
def test_nothing_is_half_written(case: str) -> None:
    test_out_refused.test_nothing_is_half_written(case)


@pytest.mark.parametrize("kind", [5, "xw", [1, 2], {"weights": 1}], ids=repr)
def test_out_without_any_field_is_refused(kind: Any) -> None:
    test_out_refused.test_out_without_any_field_is_refused(kind)


@pytest.mark.parametrize("name", ["mse", "softmax_cross_entropy"])
def test_a_missing_target_is_refused(name: str, twin: ModuleType) -> None:
    loss = getattr(twin.losses, name)
    for call, caller in ((loss, name), (loss.value_and_grad, f"{name}.value_and_grad")):
        with pytest.raises(TypeError) as error:
            call([[1.0]], None)
        assert str(error.value) == f"{caller}: target is None: give an array like pred"


def test_probabilities(twin: ModuleType) -> None:
    loss = twin.losses.binary_cross_entropy_with_logits
    for call, caller in ((loss, loss.name), (loss.value_and_grad, f"{loss.name}.value_and_grad")):
        with pytest.raises(ValueError) as error:
            call([0.0, 0.0], [-1, 1])
        assert str(error.value) == (
            f"{caller}: target has values from -1 to 1: {loss.name} takes probabilities from 0 to "
            "1: of these labels make (target + 1) / 2"
        )
