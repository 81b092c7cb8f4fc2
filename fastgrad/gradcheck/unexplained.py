"""What can be said of a wrong gradient that no relation explains: which entries, how far off."""

from __future__ import annotations

import numpy as np

from fastgrad.arrays import Array
from fastgrad.gradcheck.suspect import Relation, Suspect, listed

__all__ = ["unexplained"]


def unexplained(s: Suspect) -> Relation:
    """Return what can be said if nothing fits: which entries, and what the difference is like."""
    m = s.measured
    given, values = s.at(s.given), m.values
    off = m.differences(s.given)[: values.size] > 1
    if not off.any():
        i = int(np.argmax(m.differences(s.given)[values.size :]))
        ours, right = float(m.rays[i] @ s.given.ravel()), float(m.slopes[i])
        return Relation(
            "some entries",
            f"The {values.size} entries looked at are right, but its sum along a direction is "
            f"{ours:.9g}, and that of the right gradient {right:.9g}.",
            "A few entries are wrong, or all by little: raise seconds= to look at more.",
        )
    places = np.array(np.unravel_index(m.entries[off], s.given.shape)).T
    worst = int(np.argmax(np.where(off, np.abs(given - values), -1.0)))
    at = [int(i) for i in np.unravel_index(m.entries[worst], s.given.shape)]
    numbers = f"at {at} it is {given[worst]:.6g} and should be {values[worst]:.6g}"
    count = f"{int(off.sum())} of {off.size} entries{'' if s.full else ' looked at'} are wrong"
    if not off.all():
        for axis, what in ((0, "row"), (1, "column")):
            lines = list(np.unique(places[:, axis])) if places.shape[1] == 2 else []
            if len(lines) and 2 * len(lines) <= s.given.shape[axis] and len(lines) < len(places):
                return Relation(
                    f"some {what}s",
                    f"{count}, all in {what}{'s' * (len(lines) > 1)} {listed(lines)}; {numbers}.",
                    f"What is special about {'these' if len(lines) > 1 else 'this'} {what}"
                    f"{'s' * (len(lines) > 1)}: a mask, an index, a loop that ends early?",
                )
        return Relation(
            "some entries",
            f"{count}: {listed([list(map(int, p)) for p in places])}; {numbers}.",
            "What is special about these entries: a mask, an index, a loop that ends early?",
        )
    return Relation("unknown", f"{count}; {numbers}. {_likeness(s, given, values)}", ELSEWHERE)


ELSEWHERE = (
    "No simple relation to the right gradient: a wrong array in a product, a derivative of "
    "another function, or a mistake further on. Of a network that fg.MLP describes, "
    "fg.diagnose(net, params, grads, x=x, target=target) finds out which."
)


def _likeness(s: Suspect, given: Array, values: Array) -> str:
    """Return how alike both are, and the rank of their difference."""
    sizes = float(np.linalg.norm(given)), float(np.linalg.norm(values))
    if not sizes[1]:  # the loss depends on other entries of a large array
        return "All the right ones looked at are 0."
    alike = float(given @ values) / (sizes[0] * sizes[1]) if all(sizes) else 0.0
    text = f"The angle's cosine is {alike:.3f}, the ratio of the lengths {sizes[0] / sizes[1]:.4g}."
    if s.full and s.given.ndim == 2 and min(s.given.shape) > 2:
        difference = np.linalg.svd((given - values).reshape(s.given.shape), compute_uv=False)
        bound = float(np.linalg.norm(s.measured.bounds(s.given)[: values.size]))
        rank = int((difference > bound).sum())
        if 0 < rank <= min(s.given.shape) // 3:
            text += (
                f" The difference has rank {rank}: {rank} outer product{'s' * (rank > 1)}, as of "
                f"{rank} sample{'s' * (rank > 1)} left out or counted twice."
            )
    return text
