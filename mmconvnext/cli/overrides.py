"""The command line's own options, written into a config."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.walking import dicts
from mmconvnext.cli.configs import config_name
from mmconvnext.cli.errors import UsageError

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_EVALUATORS = ("val_evaluator", "test_evaluator")


def apply_shared(cfg: Config, args: argparse.Namespace) -> None:
    """Write the options that train and test share into ``cfg``: launcher, work directory, data,
    seed."""
    cfg.launcher = args.launcher
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"./work_dirs/{config_name(args.config)}"
    taken = next((p for p in (Path(cfg.work_dir), *Path(cfg.work_dir).parents) if p.exists()), None)
    if taken is not None and not taken.is_dir():
        raise UsageError(f"--work-dir {cfg.work_dir}: {taken} is a file, a folder is needed")
    if args.data_root is not None:
        set_data_root(cfg, str(Path(args.data_root).expanduser()))
    if args.seed is not None:
        cfg.randomness = {**(cfg.get("randomness") or {}), "seed": args.seed}


def set_data_root(cfg: Config, root: str) -> None:
    """Point every dataset and evaluator of ``cfg`` from its own data root to ``root``.

    Datasets may be nested (repeated, concatenated, wrapped); paths spelt out with the old root in
    front, as evaluators have them, keep their remainder.

    Raises:
        UsageError: nothing in the config has a data root.
    """
    parts = [cfg[key] for key in (*_LOADERS, *_EVALUATORS) if cfg.get(key)]
    rooted = [
        node for part in parts for node, _ in dicts(part) if isinstance(node.get("data_root"), str)
    ]
    old = {node["data_root"] for node in rooted}
    if isinstance(cfg.get("data_root"), str):
        old.add(cfg.data_root)
        cfg.data_root = root
    if not old:
        raise UsageError(
            f"--data-root {root}: no dataset of this config has a data_root to replace"
        )
    longest_first = sorted((part.rstrip("/") for part in old if part), key=len, reverse=True)
    for part in parts:
        for node, _ in dicts(part):
            for key, value in node.items():
                node[key] = root if key == "data_root" else _moved(value, longest_first, root)


def _moved(value: Any, old: list[str], root: str) -> Any:
    if isinstance(value, str):
        for prefix in old:
            if value == prefix or value.startswith(f"{prefix}/"):
                return f"{root.rstrip('/')}{value[len(prefix) :]}"
    return value


def use_amp(cfg: Config) -> None:
    """Turn the config's optimizer wrapper into the mixed-precision one."""
    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise UsageError(f"--amp needs optim_wrapper.type='OptimWrapper', this config has {kind!r}")
    wrapper.type = "AmpOptimWrapper"
    wrapper.setdefault("loss_scale", "dynamic")


def use_auto_scale_lr(cfg: Config) -> None:
    """Switch on the scaling of the learning rate with the real batch size."""
    if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
        raise UsageError(
            "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the config: the "
            "batch its rate is meant for"
        )
    accumulated = (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    if accumulated > 1:
        raise UsageError(
            f"--auto-scale-lr does not count accumulated batches (accumulative_counts={accumulated}"
            "): leave it out and set optim_wrapper.optimizer.lr for GPUs x images x "
            "accumulative_counts"
        )
    cfg.auto_scale_lr.enable = True
