"""Where a package's configs lie: quick to import, for commands that only read files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def config_root(package: str = "mmconvnext") -> Path:
    """Folder that holds a package's configs.

    Raises:
        ModuleNotFoundError: there is no such package.
        FileNotFoundError: it brings no configs.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{package}: no such package here, so its configs cannot be read; install it"
        )
    folder = Path(spec.origin).resolve().parent
    roots = folder / ".mim" / "configs", folder.parent / "configs"
    for root in roots:
        if root.is_dir():
            return root
    raise FileNotFoundError(
        f"{package}: expected its configs in {roots[0]} or {roots[1]}, found neither; "
        "install it again"
    )
