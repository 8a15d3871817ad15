"""What lets a training survive, put into whatever config it is started with."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

PACKAGE = "mmconvnext"
_PLAIN_CHECKPOINT_HOOKS = ("CheckpointHook", "mmengine.CheckpointHook", CheckpointHook)


def make_lasting(cfg: Config) -> None:
    """Replace and add the parts of a training config by which a run survives what a long run
    meets."""
    _import_this_package(cfg)
    _write_whole_checkpoints(cfg)
    _heed_signals(cfg)


def _import_this_package(cfg: Config) -> None:
    """The config is dumped into the work directory, and other tools shall understand it."""
    wanted = cfg.get("custom_imports") or {"imports": [], "allow_failed_imports": False}
    imports = wanted["imports"]
    imports = [imports] if isinstance(imports, str) else list(imports)
    if PACKAGE not in imports:
        cfg.custom_imports = {**wanted, "imports": [*imports, PACKAGE]}


def _write_whole_checkpoints(cfg: Config) -> None:
    """Ours instead of mmengine's checkpoint hook, with its settings; another's, or none where the
    config wants none (``checkpoint=None``), stays."""
    hooks = dict(cfg.get("default_hooks") or {})
    hook = hooks.get("checkpoint", {"type": "CheckpointHook", "interval": 1})  # mmengine's
    if hook is not None and hook.get("type") in _PLAIN_CHECKPOINT_HOOKS:
        hooks["checkpoint"] = {**hook, "type": f"{PACKAGE}.WholeCheckpointHook"}
        cfg.default_hooks = hooks


def _heed_signals(cfg: Config) -> None:
    """A hook that leaves with a checkpoint when a scheduler asks for it."""
    kind = f"{PACKAGE}.PreemptionHook"
    hooks = list(cfg.get("custom_hooks") or [])
    if kind not in [hook.get("type") for hook in hooks]:
        cfg.custom_hooks = [*hooks, {"type": kind}]
