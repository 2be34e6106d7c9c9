"""Measurements of single ways to transfer, each with its record in `docs/ways/`."""
