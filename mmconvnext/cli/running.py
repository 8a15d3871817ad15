"""From a checked config to a runner."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from mmconvnext.cli.processes import rank


def tell(line: str) -> None:
    """Print ``line`` once, however many processes there are."""
    if line and rank() == 0:
        print(f"mmconvnext: {line}", flush=True)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that ``cfg`` describes. From here on the work directory is written to."""
    keep_earlier_config(cfg)
    if "runner_type" in cfg:
        from mmengine.registry import RUNNERS

        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def keep_earlier_config(cfg: Config) -> None:
    """Copy the config of an earlier run in the work directory aside if the new run's, of the same
    name, differs. One process of several does it: the first."""
    target = Path(cfg.work_dir) / Path(cfg.filename).name
    if rank() > 0 or not target.is_file() or target.read_text(encoding="utf-8") == cfg.pretty_text:
        return
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(target.stat().st_mtime))
    shutil.copy2(target, target.with_name(f"{target.stem}_{stamp}{target.suffix}"))
