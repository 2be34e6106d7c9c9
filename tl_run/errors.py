"""Errors that end a run with one line."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run that failed; its text is the one line to show."""
