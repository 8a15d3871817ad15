"""``python -m mmconvnext``: the console command where its script is not on the path."""

from __future__ import annotations

from _mmconvnext_command import main

if __name__ == "__main__":
    raise SystemExit(main())
