"""A character model with a recurrent layer
========================================

A character model, as everybody writes it first.

Which letter comes next? The text is made here: a small grammar whose sentences obey rules that a
model can learn only by remembering what it has read ("the cat sleeps", but "the cats sleep"). One
recurrent layer reads 25 letters at a time; its last state is the first one of the next 25. Then it
writes, one letter at a time.

A step is two layers and a loss, and the way back; the loop over letters is in none of them.

Run: python examples/f_characters.py
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastgrad as fg

STEPS, STATES, RATE = 25, 64, 0.1


def make_text(sentences: int, seed: int) -> str:
    """Return sentences in which subject and verb agree."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(sentences):
        many = bool(rng.integers(2))
        subject = str(rng.choice(["cat", "dog", "bird"])) + ("s" if many else "")
        verb = str(rng.choice(["sleep", "eat", "run"])) + ("" if many else "s")
        made.append(f"the {subject} {verb}{rng.choice(['.', '?'])}\n")
    return "".join(made)


def init(letters: int, seed: int) -> dict[str, Any]:
    """Return small weights and no biases."""
    rng = np.random.default_rng(seed)
    shapes = {"wx": (letters, STATES), "wh": (STATES, STATES), "wy": (STATES, letters)}
    params = {name: 0.1 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return params | {"b": np.zeros(STATES), "by": np.zeros(letters)}


def loss_and_grads(p: dict[str, Any], x: Any, targets: Any, h0: Any) -> tuple[float, Any, Any]:
    """Return the mean loss over the letters, its gradients, and the last state."""
    h, cache = fg.rnn_forward(x, h0, p["wx"], p["wh"], p["b"])
    y, output = fg.dense_forward(h, p["wy"], p["by"])
    loss, grad_y = fg.losses.softmax_cross_entropy.value_and_grad(y, targets)
    last = fg.dense_backward(grad_y, output)
    first = fg.rnn_backward(last.x, cache, need=("wx", "wh", "b"))  # nobody asks for that of x
    grads = {"wx": first.wx, "wh": first.wh, "b": first.b, "wy": last.w, "by": last.b}
    return loss, grads, h[-1]


def write(p: dict[str, Any], letters: str, length: int, seed: int) -> str:
    """Return what the model writes after a new line, one letter at a time."""
    rng = np.random.default_rng(seed)
    h, index, written = np.zeros(STATES), letters.index("\n"), []
    for _ in range(length):
        states, _ = fg.rnn_forward(np.eye(len(letters))[[index]], h, p["wx"], p["wh"], p["b"])
        h = states[-1]
        odds = fg.softmax(fg.dense(h, p["wy"], p["by"]))
        index = int(rng.choice(len(letters), p=odds / odds.sum()))
        written.append(letters[index])
    return "".join(written)


def main(epochs: int = 6) -> dict[str, Any]:
    """Train, check the gradient once, and print what the model writes before and after."""
    text = make_text(600, seed=0)
    letters = "".join(sorted(set(text)))
    codes = np.array([letters.index(letter) for letter in text])
    one_hot = np.eye(len(letters))
    params = init(len(letters), seed=1)
    before = write(params, letters, 60, seed=2)

    first = one_hot[codes[:STEPS]], codes[1 : STEPS + 1], np.zeros(STATES)
    _, grads, _ = loss_and_grads(params, *first)
    report = fg.check_grad(
        lambda wh: loss_and_grads(params | {"wh": wh}, *first)[0], grads["wh"], params["wh"]
    )
    print("dL/dwh against differences:", "right" if report.ok else "WRONG")

    memory = {name: np.zeros_like(p) for name, p in params.items()}  # Adagrad's
    losses: list[float] = []
    of_steps: list[float] = []
    for epoch in range(epochs):
        h, total, count = np.zeros(STATES), 0.0, 0
        for start in range(0, len(codes) - STEPS - 1, STEPS):
            x = one_hot[codes[start : start + STEPS]]
            loss, grads, h = loss_and_grads(params, x, codes[start + 1 : start + STEPS + 1], h)
            for name, grad in grads.items():
                memory[name] += grad**2
                params[name] -= RATE * grad / (np.sqrt(memory[name]) + 1e-8)
            of_steps.append(loss)
            total, count = total + loss, count + 1
        losses.append(total / count)
        print(f"epoch {epoch + 1}: {losses[-1]:.3f} a letter")

    after = write(params, letters, 120, seed=3)
    print("before:", repr(before))
    print("after:")
    print(after)
    lines = after.split("\n")[:-1]  # the last one may have been cut off
    known = set(make_text(2000, seed=4).split("\n"))
    right = sum(line in known for line in lines)
    print(f"{right} of {len(lines)} sentences are right")
    found = {"losses": losses, "of_steps": of_steps, "letters": len(text) / 600}
    return found | {"report": report, "right": right, "lines": lines, "before": before}


# %%
# A sentence is one of 36, so no model can do better than log(36) nats for each of its letters.


def draw(results: dict[str, Any]) -> None:
    """Draw the loss of every step; without matplotlib, nothing."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib import pyplot as plt

    losses, epochs = results["of_steps"], len(results["losses"])
    each = len(losses) // epochs
    _, axes = plt.subplots(layout="constrained")
    axes.plot(losses, color="tab:blue", alpha=0.35, linewidth=0.6, label="each step")
    middle = (np.arange(epochs) + 0.5) * each
    axes.plot(middle, results["losses"], "o-", color="tab:blue", label="mean of an epoch")
    bound = np.log(36) / results["letters"]
    axes.axhline(bound, color="tab:orange", linestyle="--", label=f"the best possible: {bound:.2f}")
    axes.set(xlabel="step of 25 letters", ylabel="loss, nats a letter", ylim=(0, None))
    axes.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
