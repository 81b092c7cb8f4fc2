"""What is tracked: this stands in for a module of yours."""

import fastgrad as fg


def value_and_grads(params, x, labels):
    """Return the loss of two layers, and its gradients by name."""
    hidden, first = fg.dense_forward(x, params["W1"], params["b1"], "tanh")
    logits, second = fg.dense_forward(hidden, params["W2"], params["b2"])
    loss, grad_logits = fg.losses.softmax_cross_entropy.value_and_grad(logits, labels)
    top = fg.dense_backward(grad_logits, second)
    low = fg.dense_backward(top.x, first, need=("w", "b"))
    return loss, {"W1": low.w, "b1": low.b, "W2": top.w, "b2": top.b}
