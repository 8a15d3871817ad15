"""``package::path`` names of config files, ``mmconvnext::`` among them.

Lacking in mmengine: it knows a fixed list of packages, ``Config.fromfile`` takes no such name at
all, and finding a package needs pkg_resources. Here a package's configs are looked for where its
wheel (``.mim/configs``) or its checkout (``configs`` beside the package) has them.
"""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import mmengine.config.utils as config_utils
from mmengine.config import Config

from mmconvnext.compat.config_root import config_root

PACKAGE = "mmconvnext"
# What mmengine.hub may take for the package's folder: it asks for the first top-level module.
_OWN_FOLDERS = (PACKAGE, "_mmconvnext_command", "_mmconvnext_ops_finder")

_mmengine_fromfile = Config.fromfile
_mmengine_get_cfg_path = Config._get_cfg_path
_mmengine_get_cfg_metainfo = config_utils._get_cfg_metainfo
_mmengine_get_external_cfg_base_path = config_utils._get_external_cfg_base_path


def install() -> None:
    """Teach ``Config.fromfile``, ``_base_`` and ``mmengine.hub.get_config`` these names, once."""
    Config.fromfile = staticmethod(_fromfile)
    Config._get_cfg_path = staticmethod(_get_cfg_path)
    config_utils.MODULE2PACKAGE[PACKAGE] = PACKAGE
    # Importing mmengine.hub takes long and it binds these two when it is imported: before us, or
    # later.
    for module in (config_utils, sys.modules.get("mmengine.hub.hub")):
        if module is not None:
            vars(module)["_get_cfg_metainfo"] = _get_cfg_metainfo
            vars(module)["_get_external_cfg_base_path"] = _get_external_cfg_base_path


def find_config(name: str) -> Path:
    """File of a config named ``package::path``.

    Raises:
        ModuleNotFoundError: there is no such package.
        FileNotFoundError: the package has no such config; the message says which come near.
    """
    package, _, path = name.partition("::")
    root = config_root(package)
    file = root / path
    if file.is_file():
        return file
    known = {p.relative_to(root).as_posix() for p in root.rglob("*.py")}
    by_file_name = {k.rpartition("/")[2]: k for k in sorted(known)}
    near = get_close_matches(path, known, n=3)
    near += [by_file_name[n] for n in get_close_matches(path.rpartition("/")[2], by_file_name, n=3)]
    hint = ", ".join(f"{package}::{k}" for k in dict.fromkeys(near)) or f"see {root}"
    raise FileNotFoundError(f"{name}: no such config in {root}; near: {hint}")


def _is_package_path(name: str) -> bool:
    return re.match(r"\w+::", name) is not None


def _fromfile(filename: str | Path, *args: Any, **kwargs: Any) -> Config:
    """``Config.fromfile``, which also takes ``package::path``."""
    if _is_package_path(str(filename)):
        filename = find_config(str(filename))
    return _mmengine_fromfile(filename, *args, **kwargs)


def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Path of a ``_base_`` and the scope of its types, None for the reading config's own."""
    if not _is_package_path(cfg_path):
        return _mmengine_get_cfg_path(cfg_path, filename)
    package = cfg_path.partition("::")[0]
    # Our configs are made of mmdet's and mmseg's types: as a scope, ours would hide those.
    return str(find_config(cfg_path)), None if package == PACKAGE else package


def _get_cfg_metainfo(package_path: str, cfg_path: str) -> dict:
    if Path(package_path).name in _OWN_FOLDERS:
        raise ValueError("mmconvnext has no index of metafiles")  # mmengine then asks for the path
    return _mmengine_get_cfg_metainfo(package_path, cfg_path)


def _get_external_cfg_base_path(package_path: str, cfg_name: str) -> str:
    if Path(package_path).name in _OWN_FOLDERS:
        return str(find_config(f"{PACKAGE}::{cfg_name}"))
    return _mmengine_get_external_cfg_base_path(package_path, cfg_name)
