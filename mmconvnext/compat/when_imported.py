"""Changing a module that takes long to import: now if it is imported already, else once it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Change = Callable[[ModuleType], None]


def change_module(name: str, change: Change) -> None:
    """Call ``change`` with the module ``name``: now if there is one, and at every import of it.

    ``change`` has to do nothing the second time. At imports, of several of the same qualified name
    the first is called.
    """
    finder = next((f for f in sys.meta_path if isinstance(f, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.changes.setdefault(name, {}).setdefault(_key(change), change)
    if name in sys.modules:
        change(sys.modules[name])


def _key(change: Change) -> tuple[str, str]:
    return change.__module__, change.__qualname__


class _Finder(MetaPathFinder):
    """Makes the changes of a module after its import."""

    def __init__(self) -> None:
        self.changes: dict[str, dict[tuple[str, str], Change]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module to be changed, None for every other."""
        if fullname not in self.changes:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            for change in self.changes[fullname].values():
                change(module)

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec
