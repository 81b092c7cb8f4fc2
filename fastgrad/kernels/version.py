"""The version of fastgrad, and nothing else: imported by the lowest floor, too."""

__version__ = "0.2.0"
