"""Datasets that are made: scenes and pages, from embedded data."""
