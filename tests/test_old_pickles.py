"""What fastgrad 0.1 pickled, when its modules had other names, is loaded and goes on as before."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad as fg

OLD = Path(__file__).with_name("data") / "pickles_of_0_1.pkl"
# What 0.1 gave for four epochs of the network below; the pickle has the first two.
LOSSES = [1.1457128108542631, 0.34951804775026196, 0.5163587709403381, 0.629676129232308]


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    loaded: dict[str, Any] = pickle.loads(OLD.read_bytes())
    return loaded


def test_training_goes_on(old: dict[str, Any]) -> None:
    x = np.arange(12.0).reshape(4, 3) / 12
    target = x.sum(1, keepdims=True)
    net, before = old["net"], old["result"]
    assert isinstance(net, fg.MLP)
    assert before.losses.tolist() == LOSSES[:2]
    after = net.fit(
        before.params, x, target, fg.Adam(lr=0.1), epochs=2, batch_size=2, seed=1, resume=before
    )
    # The optimizer's settings are Python floats, the rest are kernels with bits of their own.
    assert np.allclose(after.losses, LOSSES, rtol=1e-12)


def test_objects_are_todays(old: dict[str, Any]) -> None:
    assert old["tanh"] is fg.tanh
    assert old["mse"] is fg.losses.mse
    assert old["adam"] == fg.AdamW(lr=0.1)
    assert isinstance(old["grads"], fg.DenseGrads)
    assert isinstance(old["linear"], fg.nn.Dense)
    grads = fg.dense_backward(np.ones((4, 2)), old["cache"])
    for field in ("x", "w"):
        assert np.array_equal(getattr(grads, field), getattr(old["grads"], field))


def test_old_names_of_modules() -> None:
    network = importlib.import_module("fastgrad.network")
    assert network.MLP is fg.MLP
    with pytest.raises(AttributeError):
        _ = network.nothing
