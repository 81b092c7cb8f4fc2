"""Compiled entry points: what Python calls with arrays."""
