"""The version of fastgrad, and nothing else: imported by the lowest floor, too."""

__version__ = "0.1.0"
