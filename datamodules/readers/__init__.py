"""Datasets from files: one format per file."""
