"""Compare all ways to profit from a source: `python compare.py dataset@source=... dataset@target=...`."""

from __future__ import annotations

from tl_run.compare.cli import main

if __name__ == "__main__":
    main()
