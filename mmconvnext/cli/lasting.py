"""What lets a training survive, put into whatever config it is started with."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

PACKAGE = "mmconvnext"
_EXACT_LOOPS = {
    "EpochBasedTrainLoop": "mmconvnext.ExactEpochBasedTrainLoop",
    "IterBasedTrainLoop": "mmconvnext.ExactIterBasedTrainLoop",
}
_PLAIN_CHECKPOINT_HOOKS = ("CheckpointHook", "mmengine.CheckpointHook", CheckpointHook)


def make_lasting(
    cfg: Config, on_nonfinite: str | None = None, *, skip_bad_data: bool = False
) -> None:
    """Replace and add the parts of a training config by which a run survives what a long run
    meets.

    Args:
        cfg: changed in place.
        on_nonfinite: what ``FiniteGuardHook`` does; None leaves it to the config, or to the hook.
        skip_bad_data: go on without pictures that turn out to be broken.
    """
    _import_this_package(cfg)
    _resume_exactly(cfg)
    _write_whole_checkpoints(cfg)
    add_hook(cfg, f"{PACKAGE}.PreemptionHook")
    _guard_finite(cfg, on_nonfinite)
    _name_bad_data(cfg, skip_bad_data)


def _name_bad_data(cfg: Config, skip: bool) -> None:
    others = [hook for hook in cfg.get("custom_hooks") or [] if not _is(hook, "BadDataHook")]
    cfg.custom_hooks = [*others, {"type": f"{PACKAGE}.BadDataHook", "skip": skip}]


def _import_this_package(cfg: Config) -> None:
    """The config is dumped into the work directory, and other tools shall understand it."""
    wanted = cfg.get("custom_imports") or {"imports": [], "allow_failed_imports": False}
    imports = wanted["imports"]
    imports = [imports] if isinstance(imports, str) else list(imports)
    if PACKAGE not in imports:
        cfg.custom_imports = {**wanted, "imports": [*imports, PACKAGE]}


def _resume_exactly(cfg: Config) -> None:
    """Loops of the config's own stay; they resume as mmengine's do, from the epoch's beginning."""
    loop = dict(cfg.train_cfg)
    by_epoch = loop.pop("by_epoch", True)
    kind = loop.get("type") or ("EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop")
    name = getattr(kind, "__name__", kind)
    if name in _EXACT_LOOPS:
        cfg.train_cfg = {**loop, "type": _EXACT_LOOPS[name]}
    add_hook(cfg, "mmconvnext.ExactStateHook")


def add_hook(cfg: Config, kind: str, **settings: object) -> None:
    """Add a hook to the config's own, unless it has one of that type."""
    hooks = list(cfg.get("custom_hooks") or ())
    if not any(_is(hook, kind.rpartition(".")[2]) for hook in hooks):
        cfg.custom_hooks = [*hooks, {"type": kind, **settings}]


def _write_whole_checkpoints(cfg: Config) -> None:
    """Ours instead of mmengine's checkpoint hook, with its settings; another's, or none where the
    config wants none (``checkpoint=None``), stays."""
    hooks = dict(cfg.get("default_hooks") or {})
    hook = hooks.get("checkpoint", {"type": "CheckpointHook", "interval": 1})  # mmengine's
    if hook is not None and hook.get("type") in _PLAIN_CHECKPOINT_HOOKS:
        hooks["checkpoint"] = {**hook, "type": f"{PACKAGE}.WholeCheckpointHook"}
        cfg.default_hooks = hooks


def _guard_finite(cfg: Config, action: str | None) -> None:
    add_hook(cfg, "mmconvnext.FiniteGuardHook")
    # mmdet's looks at a loss now and then, and fails where a batch was skipped and has none.
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not _is(hook, "CheckInvalidLossHook")]
    for hook in cfg.custom_hooks:
        if action is not None and _is(hook, "FiniteGuardHook"):
            hook["action"] = action


def _is(hook: dict[str, Any], name: str) -> bool:
    """Whether a hook's type is ``name``, in a scope or none, or the class of that name."""
    kind = hook.get("type")
    return bool(str(getattr(kind, "__name__", kind)).rpartition(".")[2] == name)
