"""Plant each fault of `faults.py` in a copy of the tree and see whether the fast suite notices.

    python -m tests.mutations                     # all
    python -m tests.mutations --only dense --jobs 2
    python -m tests.mutations --quick             # likely killers only: quicker, catches less

Likely killers run first, the whole fast suite only for what survives those. A fault that makes the
suite crash or hang until the time limit is caught too; the report says which it was. Before any
fault, the suite must pass on a copy without one. Exits with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]
ENOUGH = 0.95
NOTHING = Fault("nothing", "__init__.py", '"""', '"""', "")
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".asv", ".venv", ".*_cache", "__pycache__", "build", "dist", ".hypothesis"
)

# By file: the test files that are likely to notice, the quickest first.
_DENSE = ("test_dense.py", "test_out.py", "test_dense_arrays.py", "test_dense_gradients.py")
_PRODUCT = (
    "test_sums.py",
    "test_gemm.py",
    "test_guard_pages.py",
    "test_golden.py",
    *_DENSE,
    "test_bits.py",
)
_NETWORK = (
    "test_network.py",
    "test_training.py",
    "test_held_memory.py",
    "test_resume.py",
    "test_workspaces.py",
    "test_network_conversions.py",
    "test_scipy.py",
)
_ERRORS = (
    "test_errors.py",
    "test_known_layers.py",
    "test_out_refused.py",
    "test_held_memory.py",
)
_LOSS = ("test_losses.py", *_ERRORS, "test_out.py")
_ACTIVATION = ("test_activations.py", "test_softmax.py", "test_golden.py", *_DENSE)
_BRIDGE = ("test_bridge_torch.py", "test_bridge_jax.py", "test_bridge_autograd.py")
LIKELY = {
    "layers/batched.py": _BRIDGE,
    "sklearn/network.py": ("test_bridge_sklearn.py",),
    "sklearn/training.py": ("test_bridge_sklearn.py",),
    "sklearn/base.py": ("test_bridge_sklearn.py",),
    "dask/sums.py": ("test_bridge_dask.py",),
    "dask/training.py": ("test_bridge_dask.py",),
    "autograd.py": _BRIDGE,
    "torch/second.py": _BRIDGE,
    "torch/modules.py": _BRIDGE,
    "kernels/elementwise/vector_math.py": (
        "test_accuracy.py",
        "test_vector_math.py",
        "test_activations.py",
        "test_softmax.py",
    ),
    "kernels/elementwise/coefficients.py": ("test_accuracy.py", "test_vector_math.py"),
    "kernels/elementwise/formulas.py": _ACTIVATION,
    "kernels/calls/dense.py": (
        "test_out.py",
        "test_strided.py",
        "test_large.py",
        *_PRODUCT,
        *_ERRORS,
    ),
    "kernels/calls/dense_blocks.py": ("test_dense_arrays.py", "test_out.py", *_PRODUCT),
    "kernels/network/layer.py": (*_PRODUCT, "test_strided.py"),
    "kernels/product/sparse.py": ("test_sparse.py",),
    "kernels/product/sparse_rows.py": ("test_sparse.py",),
    "layers/sparse_rows.py": ("test_sparse.py",),
    "layers/sparse_arguments.py": ("test_sparse.py",),
    "kernels/network/sparse.py": ("test_sparse_networks.py",),
    "networks/sparse_input.py": ("test_sparse_networks.py",),
    "kernels/elementwise/rows.py": _ACTIVATION,
    "kernels/elementwise/settings.py": ("test_activation_settings.py",),
    "kernels/elementwise/softmax.py": ("test_softmax.py", *_ACTIVATION),
    "kernels/calls/pyobject.py": ("test_strided.py", *_LOSS, *_DENSE, "test_network.py"),
    "kernels/calls/entry.py": ("test_headers.py",),
    "kernels/toolchain/pointers.py": ("test_opaque.py",),
    "kernels/toolchain/headers.py": ("test_headers.py",),
    "kernels/elementwise/reductions.py": (
        "test_softmax.py",
        "test_activations.py",
        "test_golden.py",
        "test_losses.py",
    ),
    "kernels/calls/apply.py": ("test_strided.py", *_LOSS, "test_activations.py", "test_softmax.py"),
    "kernels/calls/apply_loss.py": ("test_strided.py", *_LOSS),
    "kernels/product/gather.py": ("test_strided.py", "test_guard_pages.py"),
    "kernels/elementwise/loss.py": ("test_adjusted_losses.py", "test_define_loss.py", *_LOSS),
    "kernels/toolchain/compile.py": (
        "test_dense.py",
        "test_own_activations.py",
        "test_compile.py",
        "test_cache_torture.py",
    ),
    "kernels/toolchain/cache_place.py": ("test_cache_trust.py", "test_prebuilt.py"),
    "kernels/toolchain/library.py": ("test_cache_trust.py", "test_prebuilt.py"),
    "kernels/toolchain/prebuilt.py": ("test_prebuilt.py",),
    "kernels/toolchain/target.py": ("test_prebuilt.py", *_PRODUCT),
    "kernels/toolchain/pruning.py": ("test_pruning.py",),
    "kernels/toolchain/fallback.py": ("test_compile.py",),
    "kernels/toolchain/undisturbed.py": ("test_exit.py", "test_processes.py", "test_compile.py"),
    "kernels/toolchain/front_end.py": ("test_compile.py", "test_exit.py", "test_processes.py"),
    "kernels/toolchain/object_cache.py": (
        "test_library.py",
        "test_cache_trust.py",
        "test_compile.py",
        "test_processes.py",
        "test_bits.py",
    ),
    "activations.py": (
        "test_redefined.py",
        "test_activation_settings.py",
        "test_activations.py",
        "test_softmax.py",
        "test_own_activations.py",
        *_DENSE,
        "test_strided.py",
        *_ERRORS,
    ),
    "calls.py": ("test_conversions.py", "test_large.py", *_LOSS, *_ACTIVATION, *_DENSE),
    "arguments.py": (
        *_ERRORS,
        *_DENSE,
        *_LOSS,
        "test_own_activations.py",
        "test_activation_settings.py",
    ),
    "arrays.py": (*_ERRORS, *_DENSE, "test_own_activations.py"),
    "results.py": (*_ERRORS, *_DENSE),
    "layers/recurrent_arguments.py": ("test_recurrent.py",),
    "loss_arguments.py": (*_LOSS, "test_weights.py"),
    "losses/loss.py": _LOSS,
    "losses/detailed.py": ("test_weights.py",),
    "losses/adjustable.py": ("test_adjusted_losses.py", "test_losses_of_classes.py"),
    "kernels/elementwise/loss_rows.py": ("test_losses_of_classes.py", *_LOSS),
    "losses/define.py": ("test_define_loss.py",),
    "kernels/elementwise/loss_terms.py": ("test_weights.py", "test_golden.py"),
    "kernels/elementwise/weights.py": ("test_weights.py",),
    "kernels/network/loss.py": ("test_weights.py",),
    "networks/weighing.py": ("test_weights.py",),
    "reference/dense.py": ("test_twins_errors.py", "test_dense_twins.py"),
    "kernels/network/plan.py": ("test_mlp_dropout.py", "test_training_options.py", *_NETWORK),
    "kernels/network/plan_table.py": ("test_mlp_dropout.py", *_NETWORK),
    "kernels/network/dense.py": ("test_opened.py", *_NETWORK),
    "kernels/network/stage.py": ("test_workspaces.py", *_NETWORK),
    "kernels/elementwise/philox.py": ("test_dropout.py", "test_golden.py"),
    "kernels/calls/dropout.py": ("test_dropout.py",),
    "kernels/elementwise/layer_norm.py": ("test_layer_norm.py", "test_norms.py"),
    "kernels/calls/layer_norm.py": ("test_norms.py",),
    "kernels/calls/batch_norm.py": ("test_norms.py", "test_golden.py"),
    "layers/layer_norm.py": ("test_norms.py",),
    "nn/norm.py": ("test_nn_norms.py", "test_nn.py"),
    "nn/dropout.py": ("test_nn_norms.py",),
    "nn/embedding.py": ("test_nn_norms.py",),
    "layers/batch_norm.py": ("test_norms.py",),
    "layers/norm_arguments.py": ("test_norms.py",),
    "kernels/calls/embedding.py": ("test_embedding.py",),
    "kernels/calls/words.py": ("test_dropout.py", "test_embedding.py", "test_recurrent.py"),
    "layers/dropout.py": ("test_dropout.py",),
    "layers/dropout_arguments.py": ("test_dropout.py",),
    "layers/embedding.py": ("test_embedding.py",),
    "layers/embedding_arguments.py": ("test_embedding.py",),
    "kernels/elementwise/cells.py": ("test_recurrent.py",),
    "kernels/network/recurrent.py": ("test_recurrent.py", "test_golden.py"),
    "kernels/calls/recurrent.py": ("test_recurrent.py",),
    "layers/recurrent_calls.py": ("test_recurrent.py",),
    "nn/recurrent.py": ("test_nn_recurrent.py",),
    "kernels/network/layer_norm.py": ("test_layer_norm.py",),
    "kernels/network/dropout.py": ("test_mlp_dropout.py",),
    "kernels/network/batch_end.py": ("test_penalties.py", "test_training_options.py"),
    "kernels/elementwise/norm.py": ("test_clip.py", "test_training_options.py"),
    "kernels/network/blocks.py": _NETWORK,
    "kernels/network/tape.py": ("test_opened.py",),
    "kernels/network/tape_table.py": ("test_opened.py",),
    "kernels/calls/opened.py": ("test_opened.py",),
    "networks/opened.py": ("test_opened.py", "test_parameter_forms.py"),
    "networks/tape_job.py": ("test_opened.py",),
    "networks/shared/tapes.py": ("test_opened.py", "test_parameter_forms.py"),
    "networks/shared/forms.py": ("test_parameter_forms.py",),
    "networks/quick_forms.py": ("test_parameter_forms.py",),
    "kernels/calls/forms.py": ("test_parameter_forms.py",),
    "kernels/network/form_table.py": ("test_parameter_forms.py",),
    "layers/kinds.py": (
        "test_penalties.py",
        "test_flat_vector.py",
        "test_opened.py",
        *_NETWORK,
        "test_layer_norm.py",
    ),
    "kernels/calls/network.py": ("test_mlp_dropout.py", "test_penalties.py", *_NETWORK),
    "kernels/calls/convert.py": ("test_conversions.py", "test_network_conversions.py"),
    "kernels/calls/mark.py": ("test_changed_outputs.py",),
    "kernels/calls/predict.py": _NETWORK,
    "kernels/network/update.py": (
        "test_training.py",
        "test_tree_steps.py",
        "test_bridge_sklearn.py",
    ),
    "networks/passes.py": ("test_weights.py", *_NETWORK),
    "networks/shared/samples.py": ("test_weights.py", "test_sparse_networks.py", *_NETWORK),
    "networks/shared/settings.py": ("test_errors.py", "test_network_twins.py", *_NETWORK),
    "networks/shared/architecture.py": ("test_flat_vector.py", "test_layer_norm.py"),
    "networks/shared/base.py": ("test_flat_vector.py", *_NETWORK),
    "networks/job.py": ("test_weights.py", *_NETWORK),
    "networks/plan.py": ("test_adjusted_losses.py", *_NETWORK),
    "networks/shared/training.py": ("test_training.py",),
    "networks/shared/fit_arguments.py": ("test_training.py", "test_resume.py"),
    "networks/shared/epochs.py": ("test_training_twins.py", "test_resume.py"),
    "networks/fit.py": (
        "test_training_options.py",
        "test_training.py",
        "test_interrupted_fit.py",
    ),
    "networks/shared/validation.py": ("test_training_options.py",),
    "networks/training_run.py": (
        "test_training_options.py",
        "test_divergence.py",
        "test_resume.py",
        "test_training.py",
    ),
    "networks/divergence.py": ("test_divergence.py",),
    "optimizers/optimizer.py": ("test_tree_steps.py", "test_training.py", "test_resume.py"),
    "optimizers/tree_state.py": ("test_tree_steps.py",),
    "optimizers/compiled_step.py": ("test_tree_steps.py",),
    "kernels/calls/step.py": ("test_tree_steps.py",),
    "kernels/calls/clip.py": ("test_clip.py",),
    "optimizers/clip.py": ("test_clip.py",),
    "trees.py": ("test_tree_steps.py",),
    "command/cli.py": ("test_cli.py", "test_cli_check.py"),
    "command/check.py": ("test_cli_check.py",),
    "command/blas.py": ("test_cli.py",),
    "command/environment.py": ("test_arithmetic.py",),
    "terminal.py": ("test_progress.py",),
    "networks/mlp.py": _NETWORK,
    "layers/dense_large.py": ("test_large.py", "test_golden.py", "test_bits.py"),
    "layers/compiled_layer.py": (
        "test_golden.py",
        *_DENSE,
        "test_own_activations.py",
        *_ERRORS,
        "test_bits.py",
    ),
    "threads.py": ("test_memory.py", "test_large.py", "test_golden.py", "test_bits.py"),
    "layers/dense.py": (*_ERRORS, *_DENSE, "test_own_activations.py", "test_large.py"),
    "layers/dense_arguments.py": (*_ERRORS, *_DENSE, "test_sparse.py"),
    "layers/dense_calls.py": (*_ERRORS, *_DENSE, "test_own_activations.py", "test_strided.py"),
    "nn/layer.py": ("test_nn.py",),
    "nn/dense.py": ("test_nn.py",),
    "nn/activation.py": ("test_nn.py",),
    "nn/sequential.py": ("test_nn.py",),
    "nn/mse.py": ("test_nn.py",),
    "nn/jacobians.py": ("test_nn.py",),
    "gradcheck/check_grad.py": ("test_numerical_grad.py", "test_check_grad.py"),
    "gradcheck/grad_report.py": (
        "test_numerical_grad.py",
        "test_check_grad.py",
        "test_check_trees.py",
    ),
    "gradcheck/differences.py": ("test_numerical_grad.py", "test_check_grad.py"),
    "gradcheck/slopes.py": ("test_check_grad.py", "test_diagnose_outside.py"),
    "gradcheck/relations.py": ("test_diagnose_outside.py",),
    "gradcheck/tree_loss.py": ("test_check_trees.py", "test_diagnose_outside.py"),
    "diagnosis/outside.py": ("test_diagnose_outside.py",),
    "diagnosis/calls.py": ("test_diagnose_outside.py",),
    "diagnosis/look.py": ("test_diagnose_outside.py",),
    **dict.fromkeys(
        (
            f"diagnosis/network/{file}.py"
            for file in (
                *("at_arrays", "at_layers", "calls", "explain", "factors", "model", "script"),
                "walk",
            )
        ),
        ("test_diagnose_network.py", "test_wrong_gradients.py"),
    ),
    "gradcheck/noise.py": ("test_check_grad.py",),
    "kernels/elementwise/derivative_check.py": ("test_define_activation.py",),
    "kernels/toolchain/frozen.py": ("test_define_activation.py",),
}


class Outcome(NamedTuple):
    """What happened to a fault."""

    fault: Fault
    caught: bool
    by: str  # the failing test, or "crash", "timeout"
    seconds: float


def planted(fault: Fault, root: Path) -> str:
    """Return the text of the fault's file with the fault in it."""
    text = (root / "fastgrad" / fault.file).read_text()
    found = text.count(fault.old)
    if found != 1 and fault is not NOTHING:
        raise ValueError(f"{fault.name}: its old text occurs {found} times in {fault.file}")
    return text.replace(fault.old, fault.new)


def _suite(tree: Path, files: list[str], env: dict[str, str], limit: float) -> str | None:
    """Run test files until the first failure; return what noticed, None where nothing did."""
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            command, cwd=tree, env=env, timeout=limit, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    if done.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return named[1] if named else f"crash (exit status {done.returncode})"


def try_fault(fault: Fault, warm: Path, limit: float, quick: bool) -> Outcome:
    """Run the suite on a copy of the tree with one fault in it."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fastgrad-fault-") as place:
        tree, kernels = Path(place) / "tree", Path(place) / "kernels"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
        (tree / "fastgrad" / fault.file).write_text(planted(fault, ROOT))
        # Its own cache, so that a broken kernel stays here; units that did not change are found.
        shutil.copytree(warm, kernels)
        env = {**os.environ, "PYTHONPATH": str(tree), "FASTGRAD_CACHE_DIR": str(kernels)}
        everything = sorted(p.name for p in (tree / "tests").glob("test_*.py"))
        # This one compares the sources with the table of faults, so it would notice any.
        everything.remove("test_mutations.py")
        likely = dict.fromkeys(LIKELY.get(fault.file, _PRODUCT))  # each once, in this order
        first = [n for n in likely if n in everything]
        rest = [n for n in everything if n not in first]
        noticed = None
        for names in [*([n] for n in first), *([] if quick else [rest])]:
            left = limit - (time.perf_counter() - began)
            noticed = _suite(tree, [f"tests/{n}" for n in names], env, max(left, 1.0))
            if noticed is not None:
                break
    return Outcome(fault, noticed is not None, noticed or "", time.perf_counter() - began)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="faults whose name or file contains one of these"
    )
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    parser.add_argument("--limit", type=float, default=1800, help="seconds per fault")
    parser.add_argument("--quick", action="store_true", help="run the likely killers only")
    options = parser.parse_args(arguments)
    chosen = [f for f in FAULTS if any(o in f.name or o in f.file for o in options.only)]
    if not chosen:
        parser.error(f"no fault has one of {options.only} in its name or file")
    with tempfile.TemporaryDirectory(prefix="fastgrad-warm-") as warm:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "FASTGRAD_CACHE_DIR": warm}
        known = os.environ.get("FASTGRAD_CACHE_DIR")
        if known and Path(known).is_dir():
            shutil.copytree(known, warm, dirs_exist_ok=True)
        subprocess.run(
            [sys.executable, "-c", "import fastgrad; fastgrad.warmup()"], env=env, check=True
        )

        def attempt(fault: Fault) -> Outcome:
            return try_fault(fault, Path(warm), options.limit, options.quick)

        sound = attempt(NOTHING)
        if sound.caught:
            print(f"without any fault: {sound.by}")
            return 1
        outcomes = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for outcome in pool.map(attempt, chosen):
                outcomes.append(outcome)
                fault = outcome.fault
                verdict = f"caught    {outcome.by}" if outcome.caught else f"SURVIVED  {fault.why}"
                print(f"{fault.name:24} {outcome.seconds:5.0f} s  {verdict}", flush=True)
    caught = sum(o.caught for o in outcomes)
    other = sum(not o.by.startswith("tests/") for o in outcomes if o.caught)
    print(f"{caught} of {len(outcomes)} caught, {other} of them by a crash or the time limit")
    return 0 if caught >= ENOUGH * len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
