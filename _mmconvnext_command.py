"""Starts a command of mmconvnext: ``mmconvnext …`` and ``tools/*.py``.

It stands apart from the package, whose import brings in PyTorch: seconds of waiting for someone who
only wants to read something.
"""

from __future__ import annotations

import sys

HELP = {"-h", "--help", "--version"}
# Commands that only read a file, or that have to run where PyTorch does not.
READERS = {"recipes", "completion", "doctor"}


def main(command: str | None = None) -> int:
    """Run ``command`` (None: the command line names it) with the command line's options."""
    argv = sys.argv[1:] if command is None else [command, *sys.argv[1:]]
    if not argv or HELP & set(argv) or READERS & set(argv[:1]):
        leave_package_unexecuted()
    from mmconvnext.cli.main import main as run

    return run(argv)


def leave_package_unexecuted() -> None:
    """Make the package's modules importable without its ``__init__``, which registers."""
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("mmconvnext")
    if spec is not None:
        sys.modules["mmconvnext"] = module_from_spec(spec)
