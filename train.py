"""Train one cell on one or two datasets: `python train.py cell=multitask`; sweep with `-m`. Installed: `tl-train`."""

from __future__ import annotations

from tl_run.train import main

if __name__ == "__main__":
    main()
