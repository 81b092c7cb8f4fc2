"""Layers: one file per kind, and how its calls are checked, compiled and shared over threads."""
