"""Checking gradients: derivatives by differences, and how exact those are."""
