"""The commands: one module each, run as ``mmconvnext NAME`` or ``python tools/NAME.py``."""
