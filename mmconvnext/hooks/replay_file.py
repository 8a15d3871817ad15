"""Files from which a training step that went wrong can be run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.hooks.plain_data import from_plain

_MARK = "mmconvnext_replay"
_VERSION = 1


@dataclass
class Replay:
    """A training step.

    Attributes:
        iteration: counted from 1, as in the log.
        found: the line that the log has on it.
        epoch: counted from 0, as the message hub has it.
        weights: of the model before it, buffers included.
        batch: as the loader gave it, but plain: ``plain_data.to_plain``.
        generators: their states before it.
    """

    iteration: int
    found: str
    epoch: int
    weights: Mapping[str, Tensor]
    batch: Any
    generators: Mapping[str, Any]

    def data(self) -> Any:
        """The batch as it was.

        Raises:
            TypeError, ImportError: as ``plain_data.from_plain``.
        """
        return from_plain(self.batch)


def write_replay(path: Path, replay: Replay) -> None:
    """Write the file, whole or not at all.

    Raises:
        OSError: it cannot be written, and why.
    """
    content = {**vars(replay), _MARK: _VERSION}

    def write(file: Path) -> None:
        with file.open("wb") as opened:
            torch.save(content, opened)

    write_whole(path, write)


def read_replay(path: str | Path) -> Replay:
    """Read a file of :func:`write_replay`; nothing in it is run.

    Raises:
        CheckpointError: as ``read_checkpoint``, or it is another kind of file.
    """
    content = read_checkpoint(path)
    version = content.pop(_MARK, None)
    if version != _VERSION:
        raise CheckpointError(
            f"{path}: expected a file nonfinite_iter_N.pth that training wrote, found "
            + (f"one of version {version}" if version is not None else "another checkpoint")
        )
    return Replay(**content)
