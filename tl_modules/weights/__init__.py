"""Weights: from files, between parts and checkpoints, and out of a module."""
