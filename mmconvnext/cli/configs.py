"""Reading a config file, with errors that name the file, the line and what lies near."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmconvnext.cli.errors import UsageError, describe, near
from mmconvnext.cli.keys import check_keys
from mmconvnext.compat.config_root import config_root
from mmconvnext.compat.mm_packages import PACKAGE
from mmconvnext.compat.without_mmpretrain import use_own_convnext


def load_config(name: str, options: dict[str, Any]) -> Config:
    """The config ``name`` (a path, or ``package::path``) with ``options`` (dotted keys) merged in.

    Raises:
        UsageError: the file or a base of it is missing or cannot be read, or an option names no
        setting.
    """
    cfg, _ = read_config(name)
    merge_options(cfg, options)
    return cfg


def read_config(name: str) -> tuple[Config, list[str]]:
    """The config ``name``, and what was changed in it because mmpretrain is not installed.

    Raises:
        UsageError: as :func:`load_config`.
    """
    if "::" not in name and not Path(name).expanduser().is_file():
        raise UsageError(f"config not found: {name}{_near_configs(name)}")
    try:
        cfg = Config.fromfile(name, import_custom_modules=False)
        changes = use_own_convnext(cfg)
    except SyntaxError as error:
        raise UsageError(_syntax_error(name, error)) from error
    except FileNotFoundError as error:
        raise UsageError(_missing_base(name, error)) from error
    except Exception as error:
        raise UsageError(f"config {_place(name, error)}: {describe(error)}") from error
    _import_modules(cfg)
    return cfg, changes


def _import_modules(cfg: Config) -> None:
    """Import what ``cfg`` asks for, as mmengine does when it reads a config by itself."""
    wanted = cfg.get("custom_imports")
    if not wanted:
        return
    try:
        import_modules_from_strings(**wanted)
    except Exception as error:
        line = describe(error)
        if isinstance(error.__context__, ImportError):  # mmengine names the module, not the reason
            line += f" ({error.__context__})"
        raise UsageError(f"config {cfg.filename}: custom_imports: {line}") from error


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Merge ``options`` (dotted keys) into ``cfg``.

    Raises:
        UsageError: one names no setting.
    """
    check_keys(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"--cfg-options {' '.join(options)}: {describe(error)}") from error


def config_digest(cfg: Config) -> str:
    """SHA-256 of all that ``cfg`` says, bases and changed keys included; not of where it stands or
    how it is laid out."""
    text = json.dumps(cfg.to_dict(), default=_told, skipkeys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _told(value: Any) -> Any:
    """What JSON has no words for: neither by a place in memory nor in a set's order."""
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    name = getattr(value, "__qualname__", None)  # of a class or function
    return f"{value.__module__}.{name}" if name else repr(value)


def config_name(name: str) -> str:
    """The config's bare name: what the default work directory is called."""
    return Path(name.partition("::")[2] or name).stem


def _near_configs(name: str) -> str:
    """A hint at configs with a name close to the path ``name``: around it, and this package's."""
    wanted = Path(name).expanduser().absolute()
    # One level below the nearest folder that exists: further could mean walking a whole disk.
    folder = next(p for p in wanted.parents if p.is_dir())
    found = {path.stem: _shown(path) for path in (*folder.glob("*.py"), *folder.glob("*/*.py"))}
    root = config_root()
    for path in root.rglob("*.py"):
        found.setdefault(path.stem, f"{PACKAGE}::{path.relative_to(root).as_posix()}")
    return near(wanted.stem, found)


def _missing_base(name: str, error: FileNotFoundError) -> str:
    asked = _read_files(error)
    if "::" in name or not asked or "::" in str(error):  # the error names near ones itself
        return f"config {error}"
    missing = Path(asked[-1]).resolve()
    reader = next((file for file in reversed(asked) if Path(file).is_file()), name)
    return f"config not found: {missing}, which is a base of {reader}{_near_configs(str(missing))}"


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _syntax_error(name: str, error: SyntaxError) -> str:
    # mmengine parses the text without telling the parser its name, and wraps some errors in a
    # second one.
    original = error.__context__ if isinstance(error.__context__, SyntaxError) else error
    return (
        f"config {_parsed_file(name, error)}, line {original.lineno}: syntax error: {original.msg}"
    )


def _read_files(error: BaseException) -> list[str]:
    """The config files that mmengine was reading when ``error`` arose, the outermost first."""
    return [
        frame.f_locals["filename"]
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if isinstance(frame.f_locals.get("filename"), str)
    ]


def _parsed_file(name: str, error: BaseException) -> str:
    """The innermost of those files that exists, or ``name``."""
    found = next((file for file in reversed(_read_files(error)) if Path(file).is_file()), name)
    return os.path.abspath(found)  # noqa: PTH100  (as mmengine spells it; resolve() follows links)


def _place(name: str, error: BaseException) -> str:
    """``file, line n`` where the config's own code raised ``error``."""
    read = _parsed_file(name, error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == read]
    return f"{read}, line {lines[-1]}" if lines else read
