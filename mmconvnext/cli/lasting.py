"""What lets a training survive, put into whatever config it is started with."""

from __future__ import annotations

from mmengine.config import Config

PACKAGE = "mmconvnext"


def make_lasting(cfg: Config, *, skip_bad_data: bool = False) -> None:
    """Replace and add the parts of a training config by which a run survives what a long run
    meets.

    Args:
        cfg: the config.
        skip_bad_data: go on without pictures that turn out to be broken.
    """
    _import_this_package(cfg)
    _name_bad_data(cfg, skip_bad_data)


def _name_bad_data(cfg: Config, skip: bool) -> None:
    kind = "mmconvnext.BadDataHook"
    others = [hook for hook in cfg.get("custom_hooks") or [] if hook.get("type") != kind]
    cfg.custom_hooks = [*others, {"type": kind, "skip": skip}]


def _import_this_package(cfg: Config) -> None:
    """The config is dumped into the work directory, and other tools shall understand it."""
    wanted = cfg.get("custom_imports") or {"imports": [], "allow_failed_imports": False}
    imports = wanted["imports"]
    imports = [imports] if isinstance(imports, str) else list(imports)
    if PACKAGE not in imports:
        cfg.custom_imports = {**wanted, "imports": [*imports, PACKAGE]}
