"""Finds ``--cfg-options`` that would set nothing: mistyped keys, merged in and never read."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import Registry

from mmconvnext.cli.errors import UsageError, near

# Read by mmengine's runner from the config itself, beside its constructor's arguments.
_RUNNER_KEYS = frozenset(
    [
        "compile",
        "custom_imports",
        "efficient_conv_bn_eval",
        "find_unused_parameters",
        "model_wrapper_cfg",
        "runner_type",
        "strategy",  # FlexibleRunner's
        "sync_bn",
        "tta_model",
        "tta_pipeline",
    ]
)
# Dicts without a type whose keys are the user's own names or go to somebody else's function.
_FREE_DICTS = frozenset(
    [
        "backend_args",
        "clip_grad",
        "custom_keys",
        "data_prefix",
        "dist_cfg",
        "env_cfg",
        "init_cfg",
        "meta",
        "metainfo",
        "mp_cfg",
        "paramwise_cfg",
    ]
)
_DEFAULT_HOOKS = frozenset(
    [
        "checkpoint",
        "logger",
        "param_scheduler",
        "runtime_info",
        "sampler_seed",
        "timer",
        "visualization",
    ]
)
_MISTYPED = 0.8  # of difflib's similarity


def check_keys(cfg: Config, keys: Iterable[str]) -> None:
    """Check that every dotted key in ``keys`` names a setting of ``cfg`` or one that would be read
    if it were there.

    Raises:
        UsageError: a key is neither in the config nor an argument of the class that its part of the
        config builds.
    """
    scope = cfg.get("default_scope") or "mmengine"
    for key in keys:
        _check_key(cfg, key, scope)


def _check_key(cfg: Config, key: str, scope: str) -> None:
    node: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        parent = ".".join(parts[:depth])
        if isinstance(node, (Config, Mapping)):
            known = node._cfg_dict if isinstance(node, Config) else node
            if part not in known:
                if _is_read(parts[:depth], known, part, scope):
                    return
                raise UsageError(_unknown(cfg, key, part, parent))
            node = known[part]
        elif isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise UsageError(
                    f"--cfg-options {key}: {parent} is a list of {len(node)}, {part} is no "
                    "index of it"
                )
            node = node[int(part)]
            if depth == len(parts) - 1:
                raise UsageError(
                    f"--cfg-options {key}: a list's element cannot be set alone; give the "
                    f"whole list, {parent}=[…]"
                )
        else:
            raise UsageError(
                f"--cfg-options {key}: {parent} is {node!r}, it has no settings inside; set "
                f"{parent} as a whole"
            )


def _unknown(cfg: Config, key: str, part: str, parent: str) -> str:
    hint = near(key, {known: known for known in _dotted(cfg._cfg_dict)})
    where = f"{parent} has no {part!r}" if parent else f"there is no {part!r}"
    return f"--cfg-options {key}: {where} and would not read it{hint}"


def _dotted(node: Any, prefix: str = "") -> Iterable[str]:
    """Every key of a nested config, dotted."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    for name, value in items:
        path = f"{prefix}{name}"
        yield path
        yield from _dotted(value, f"{path}.")


def _is_read(path: list[str], node: Mapping[str, Any], name: str, scope: str) -> bool:
    """Whether a new ``name`` in the dict ``node``, found at ``path``, would be read by anything."""
    if not path:
        from mmengine.runner import Runner

        return name in _RUNNER_KEYS or name in _arguments(Runner)
    last = path[-1]
    if last in _FREE_DICTS or name in ("type", "_delete_", "_scope_"):
        return True
    if "type" not in node:
        if len(path) > 1:
            # Its reader is unknown (model.test_cfg, say): only what looks mistyped is refused.
            return not difflib.get_close_matches(name, node, n=1, cutoff=_MISTYPED)
        return name in _untyped_arguments(path[0])
    built = node["type"]
    if isinstance(built, str):
        built = _find(built, node.get("_scope_") or scope)
    # What cannot be found here fails when it is built, with a message of its own.
    return built is None or name in _arguments(built)


def _untyped_arguments(place: str) -> frozenset[str]:
    """The arguments of what the config's dict ``place``, one without a ``type``, is handed to."""
    from mmengine.optim import OptimWrapper
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
    from torch.utils.data import DataLoader

    takers: dict[str, tuple[Callable, ...]] = {
        "train_cfg": (EpochBasedTrainLoop, IterBasedTrainLoop),
        "val_cfg": (ValLoop,),
        "test_cfg": (TestLoop,),
        "optim_wrapper": (OptimWrapper,),
        "randomness": (Runner.set_randomness,),
    }
    if place.endswith("_dataloader"):
        return _arguments(DataLoader)
    if place == "default_hooks":
        return _DEFAULT_HOOKS
    extra = {"by_epoch"} if place == "train_cfg" else {"constructor"}
    return frozenset().union(*map(_arguments, takers.get(place, ())), extra)


def _arguments(built: Callable) -> frozenset[str]:
    """Names that ``built`` accepts; a class's ``**kwargs`` are followed to its bases."""
    functions = [vars(cls).get("__init__") for cls in getattr(built, "__mro__", ())] or [built]
    names: set[str] = set()
    for function in filter(inspect.isfunction, functions):
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return frozenset(names - {"self"})


def _find(name: str, scope: str) -> Callable | None:
    """The class or function registered as ``name``, in whichever of mmengine's registries."""
    with suppress(ImportError):
        import_module(f"{scope}.registry")  # fills the roots' children
    for root in vars(registries).values():
        if isinstance(root, Registry):
            found = root.children.get(scope, root).get(name)
            if found is not None:
                return found
    return None
