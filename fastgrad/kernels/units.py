"""The table of compiled units: what each object file holds, and what it calls.

A *unit* is a handful of C functions for one dtype in one relocatable object. Units call each other
by symbol, activations are reached through their addresses, so nothing is ever compiled twice into
two callers. Imports no Numba.
"""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("float32", "float64")

# Activations whose derivative is not a function of the output y: layers keep it beside y. The table
# of activations reads `from_output` here.
KEEP_SLOPE = ("gelu", "gelu_tanh", "silu", "mish")

# Kinds of layers with a stage that packs new weights, once for all threads.
PACKING = ("dense",)


@dataclass(frozen=True)
class Unit:
    """What one object file holds: functions built by ``module.build``, and what they call."""

    module: str
    functions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    argument: str | None = None  # passed to build: which row of a table


# The units without a row of a table, in the order they build on each other.
UNITS = {
    "interleave": Unit("product.interleave", ("interleave", "deinterleave")),
    "panel": Unit("product.microkernel", ("panel",)),
    "thin": Unit("product.thin", ("thin",)),
    "gemv": Unit("product.gemv", ("gemv",)),
    "dot": Unit("product.dot", ("dot",)),
    "gemm": Unit("product.gemm", ("gemm", "pack_b"), ("panel", "thin", "gemv")),
    "single_output": Unit("product.single_output", ("single_output",), ("dot", "gemv")),
    "layer": Unit(
        "network.layer", ("layer_forward", "layer_backward", "multiply"), ("gemm", "single_output")
    ),
    "split_k": Unit("product.split_k", ("split_k",)),
    "dense": Unit(
        "calls.dense", ("dense_forward", "dense_backward", "dense_mark"), ("layer", "split_k")
    ),
    "sparse_rows": Unit("product.sparse_rows", ("add_rows",)),
    "sparse": Unit(
        "product.sparse",
        ("sparse_check", "sparse_sort", "sparse_forward", "sparse_gradient"),
        ("sparse_rows",),
    ),
    "plan": Unit("network.plan", ("plan_work",)),
    "batch_end": Unit("network.batch_end", ("end_batch",)),
    "network": Unit("calls.network", ("network_value_and_grad",), ("plan",)),
    "tape": Unit("network.tape", ("tape_forward", "tape_backward")),
    "opened": Unit(
        "calls.opened", ("network_forward", "network_backward", "network_marks"), ("tape",)
    ),
    "forms": Unit("calls.forms", ("form_gather", "form_views")),
    "predict": Unit("calls.predict", ("network_predict",), ("plan",)),
    "cells": Unit(
        "elementwise.cells",
        (
            *("lstm_state", "lstm_back", "gru_state", "gru_back", "gru_reset_back"),
            *("gated", "add_gated"),
        ),
    ),
    "steps": Unit(
        "network.recurrent",
        ("steps_forward", "steps_backward"),
        ("layer", "cells", "rows.sigmoid", "rows.tanh"),
    ),
    "recurrent": Unit("calls.recurrent", ("recurrent_forward", "recurrent_backward"), ("steps",)),
    "drop": Unit("elementwise.philox", ("drop",)),
    "dropout": Unit("calls.dropout", ("dropout",), ("drop",)),
    "drop_block": Unit("network.dropout", ("drop_block",), ("drop",)),
    "embedding": Unit("calls.embedding", ("embedding_forward", "embedding_backward")),
    "layer_norm": Unit(
        "calls.layer_norm", ("layer_norm_forward", "layer_norm_backward"), ("layer",)
    ),
    "batch_norm": Unit("calls.batch_norm", ("batch_norm_forward", "batch_norm_backward")),
    "step": Unit("calls.step", ("optimizer_step",)),
    "clip": Unit("calls.clip", ("clip_norm", "clip_value")),
    "convert": Unit("calls.convert", ("natives", "converted", "classes")),
    "apply": Unit("calls.apply", ("apply_forward", "apply_backward")),
    "weights": Unit("elementwise.weights", ("weight_sums",)),
    "loss_stage": Unit("network.loss", ("loss_stage",)),
    "apply_loss": Unit("calls.apply_loss", ("apply_loss",)),
}


def unit(name: str) -> Unit:
    """Return the unit called `name`: ``"dense"``, ``"rows.tanh"``, ``"loss.mse"`` ..."""
    kind, _, row = name.partition(".")
    if kind == "rows":
        functions: tuple[str, ...] = (f"forward_{row}", f"backward_y_{row}")
        if row in KEEP_SLOPE:
            functions = f"forward_{row}", f"forward_and_slope_{row}", f"backward_slope_{row}"
        if row == "softmax":
            return Unit("elementwise.softmax", functions, ("interleave",))
        return Unit("elementwise.rows", functions, argument=row)
    if kind == "slopes":  # what layers do not need is not compiled with them
        return Unit("elementwise.slopes", (f"backward_z_{row}",), argument=row)
    if kind in ("keeps_y", "keeps_z"):  # with a setting of the user's: see `elementwise.settings`
        of_settings = ("forward", "backward_z", *(("backward_y",) if kind == "keeps_y" else ()))
        names = tuple(f"{function}_{row}" for function in of_settings)
        return Unit("elementwise.settings", names, argument=row)
    if kind == "loss":
        return Unit("elementwise.loss", (f"loss_{row}",), argument=row)
    if kind == "terms":
        return Unit("elementwise.loss_terms", (f"terms_{row}",), argument=row)
    if kind == "stage":
        stages = ("forward", "backward", "pack") if row in PACKING else ("forward", "backward")
        needs = ("layer", "sparse") if row == "sparse" else ("layer",)
        return Unit(f"network.{row}", tuple(f"stage_{s}_{row}" for s in stages), needs)
    if kind == "update":
        return Unit("network.update", (f"update_{row}",), argument=row)
    return UNITS[name]


def symbol(function: str, dtype: str) -> str:
    """Return the name under which a unit exports `function`."""
    return f"fastgrad_{function}_{dtype}"
