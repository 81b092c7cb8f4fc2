"""The steps of scripts as asv follows them: fastgrad's time, and that over the time by hand."""

from ..common import ratio
from . import GROUPS

SCRIPTS = {make().name: make for group in GROUPS.values() for make in group}


class Scripts:
    """Each script of the table, in one thread."""

    params = tuple(SCRIPTS)
    param_names = ("script",)

    def setup(self, script):
        made = SCRIPTS[script]()
        self.ours, self.by_hand = made.ours().step, made.by_hand().step
        self.ours()

    def time_step(self, script):
        self.ours()

    def track_ratio(self, script):
        return ratio(self.ours, self.by_hand)

    track_ratio.unit = "of the time by hand"
