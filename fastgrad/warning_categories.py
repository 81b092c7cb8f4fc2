"""The categories of fastgrad's warnings, each public: filters and tests name them."""

from __future__ import annotations

__all__ = ["FastgradWarning", "SettingsWarning", "TrainingWarning"]


class FastgradWarning(UserWarning):
    """The base class of all warnings of fastgrad.

    Examples
    --------
    >>> import fastgrad as fg, warnings
    >>> warnings.simplefilter("error", fg.FastgradWarning)  # every one is an exception
    """


class TrainingWarning(FastgradWarning):
    """Training went wrong: `MLP.fit` met a loss or parameters that are not finite.

    Examples
    --------
    >>> import fastgrad as fg, warnings
    >>> warnings.simplefilter("ignore", fg.TrainingWarning)
    """


class SettingsWarning(FastgradWarning):
    """Settings that work but are probably a mistake: `MLP` with softmax applied twice.

    Examples
    --------
    >>> import fastgrad as fg, warnings
    >>> warnings.simplefilter("ignore", fg.SettingsWarning)
    """
