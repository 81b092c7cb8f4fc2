"""The steps of scripts as asv follows them: fastgrad's time, and that over the time by hand."""

from ..common import ratio
from . import GROUPS

STEPS = {step.name: group for group, make in GROUPS.items() for step in make()}


class Scripts:
    """Each step of the table, in one thread."""

    params = tuple(STEPS)
    param_names = ("step",)

    def setup(self, step):
        self.step = next(s for s in GROUPS[STEPS[step]]() if s.name == step)
        self.step.ours()

    def time_step(self, step):
        self.step.ours()

    def track_ratio(self, step):
        return ratio(self.step.ours, self.step.by_hand)

    track_ratio.unit = "of the time by hand"
