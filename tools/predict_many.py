#!/usr/bin/env python
from _mmconvnext_command import main

if __name__ == "__main__":
    raise SystemExit(main("predict-many"))
