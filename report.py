"""Report what runs say: `python report.py outputs multirun`. Installed: `tl-report`."""

from __future__ import annotations

from tl_run.report_cli import main

if __name__ == "__main__":
    main()
