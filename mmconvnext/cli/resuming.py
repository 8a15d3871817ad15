"""From which checkpoint a training goes on: ``--resume``, and ``resume`` in a config."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list

from mmconvnext.checkpoints.newest import newest_whole
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.whole_files import verify
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.running import tell

AUTO = "auto"


def settle_resuming(cfg: Config, wanted: str | None) -> None:
    """Write into ``cfg`` from which checkpoint it resumes, if it does: ``load_from`` is the file.

    Args:
        cfg: with its work directory.
        wanted: ``--resume``'s value: a file, an address, or ``auto``, with which the newest whole
            checkpoint in the work directory is taken, and none to resume from means that training
            starts as the config says. None leaves it to the config.

    Raises:
        CheckpointError: the file is damaged; or there are checkpoints, and none is whole.
    """
    if wanted is None:
        if not cfg.get("resume"):
            return
        wanted = cfg.get("load_from") or AUTO
    if wanted == AUTO:
        _resume_newest(cfg)
        return
    cfg.resume, cfg.load_from = True, wanted
    if "://" not in wanted:
        _verify(Path(wanted).expanduser())


def check_agreement(cfg: Config) -> None:
    """Check that all processes have found the same checkpoint; they have a group by now.

    Raises:
        UsageError: this one found another than the first.
    """
    found = cfg.load_from if cfg.get("resume") else None
    first = [found]
    broadcast_object_list(first)
    if first != [found]:
        raise UsageError(
            f"resuming from {found}, but the first process from {first[0]}: all processes need "
            f"the same work directory, found {Path(cfg.work_dir).resolve()}"
        )


def restarts_that_hang() -> str:
    """What to say where torchrun is to start processes again, and they will not find each other.

    Of PyTorch 2.14 a script that does nothing but start its group hangs then: in torchrun's store
    are still the addresses of the processes of the start before.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not shared or int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) == 0:
        return ""
    return (
        "torchrun --max-restarts: a restart may hang in PyTorch; start torchrun with --standalone "
        "or --rdzv-backend c10d, and TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    )


def _resume_newest(cfg: Config) -> None:
    folder = Path(cfg.work_dir)
    newest = newest_whole(folder)
    if newest.path is None and newest.passed_over:
        count = len(newest.passed_over)
        raise CheckpointError(
            f"{newest.passed_over[0]} (of {count} in {folder} none is whole); to start from the "
            "beginning remove them, or leave out --resume"
        )
    for line in newest.passed_over:
        tell(line)
    cfg.resume = newest.path is not None
    if newest.path is None:
        tell(f"nothing to resume from in {folder}: starting from the beginning")
    else:
        cfg.load_from = newest.path
        tell(f"resuming from {newest.path}")


def _verify(path: Path) -> None:
    try:
        verify(path)
    except CheckpointError as error:
        newest = newest_whole(path.parent).path if path.parent.is_dir() else None
        hint = f"; the newest that is whole there: {newest}" if newest else ""
        raise CheckpointError(f"{error}{hint}") from error
