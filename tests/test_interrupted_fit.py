"""Ctrl-C in `MLP.fit` outside of the epochs: the exception's `result` has the parameters, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgrad as fg


class Stops:
    """Ctrl-C while this is made an array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise KeyboardInterrupt


class StopsWhereCounted:
    """Ctrl-C while this number of epochs is read."""

    def __index__(self) -> int:
        raise KeyboardInterrupt


X = np.ones((4, 2))


@pytest.mark.parametrize(
    "arguments",
    [{"x": Stops()}, {"target": Stops()}, {"epochs": StopsWhereCounted()}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_ctrl_c_during_the_checks_leaves_a_result(arguments: dict[str, Any]) -> None:
    net = fg.MLP((2, 1), (None,), "mse", dtype="float64")
    params = net.init()
    with pytest.raises(KeyboardInterrupt) as stop:
        net.fit(params, **{"x": X, "target": X[:, :1], **arguments})
    result = stop.value.result  # type: ignore[attr-defined]
    assert np.array_equal(result.params, params)
    assert not np.shares_memory(result.params, params)
    assert result.losses.shape == (0,)


def test_ctrl_c_in_a_callback_leaves_what_was_learned() -> None:
    net = fg.MLP((2, 1), (None,), "mse", dtype="float64")

    def stop_at_two(state: fg.FitState) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt

    arguments = (net.init(), X, X[:, :1])
    with pytest.raises(KeyboardInterrupt) as stop:
        net.fit(*arguments, callback=stop_at_two)
    result = stop.value.result  # type: ignore[attr-defined]
    expected = net.fit(*arguments, epochs=3)
    assert np.array_equal(result.params, expected.params)
    assert np.array_equal(result.losses, expected.losses)
