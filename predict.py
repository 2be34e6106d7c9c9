"""Predict with a trained run: `python predict.py run=outputs/multitask/<time> input=pictures/`."""

from __future__ import annotations

from tl_run.predict_cli import main

if __name__ == "__main__":
    main()
