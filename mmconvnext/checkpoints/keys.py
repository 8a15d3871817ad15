"""Comparing a checkpoint's keys with a model's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from mmconvnext.checkpoints.reading import CheckpointError

BATCH_COUNT = "num_batches_tracked"  # BatchNorm's; older files have none
SHOWN = 3  # names in a message; the rest is counted


@dataclass(frozen=True)
class KeyReport:
    """How the keys of a checkpoint compare with a model's."""

    total: int  # keys of the model
    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the model only
    unknown: tuple[str, ...]  # in the checkpoint only
    reshaped: tuple[str, ...]  # of another shape; "key (found) instead of (expected)"

    def of(self, part: str) -> KeyReport:
        """Of the keys that begin with ``part`` alone; all of them if the model has none such."""

        def chosen(keys: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(key for key in keys if key.startswith(part))

        matched, missing = chosen(self.matched), chosen(self.missing)
        unknown, reshaped = chosen(self.unknown), chosen(self.reshaped)
        total = len(matched) + len(missing) + len(reshaped)
        return KeyReport(total, matched, missing, unknown, reshaped) if total else self

    def but(self, pattern: re.Pattern[str]) -> KeyReport:
        """Without the missing and unknown keys that ``pattern`` matches whole."""

        def others(keys: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(key for key in keys if not pattern.fullmatch(key))

        return replace(self, missing=others(self.missing), unknown=others(self.unknown))

    def check(self, source: str, model: str) -> None:
        """Raise :class:`CheckpointError` unless all keys match."""
        if not self.matched and not self.reshaped:
            raise CheckpointError(
                f"{source}: none of its keys is {model}'s: expected {self.total} such as "
                f"{shown(self.missing)}, found {shown(self.unknown) or 'no tensors'}"
            )
        wrong = [
            f"{len(keys)} {what} ({shown(keys)})"
            for what, keys in (
                ("missing from it", self.missing),
                ("unknown to the model", self.unknown),
                ("of another shape", self.reshaped),
            )
            if keys
        ]
        if wrong:
            raise CheckpointError(
                f"{source} is of another architecture than {model}: of {self.total} keys "
                + ", ".join(wrong)
            )


def compare_keys(model: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]) -> KeyReport:
    """Compare two state dicts by key and shape; BatchNorm's step counts may be missing."""
    common = [key for key in model if key in checkpoint]
    fitting = {key for key in common if model[key].shape == checkpoint[key].shape}
    return KeyReport(
        total=len(model),
        matched=tuple(key for key in common if key in fitting),
        missing=tuple(k for k in model if k not in checkpoint and not k.endswith(BATCH_COUNT)),
        unknown=tuple(key for key in checkpoint if key not in model),
        reshaped=tuple(
            f"{key} {tuple(checkpoint[key].shape)} instead of {tuple(model[key].shape)}"
            for key in common
            if key not in fitting
        ),
    )


def shown(keys: Sequence[Any]) -> str:
    """The first keys, and whether there are more."""
    more = ", …" if len(keys) > SHOWN else ""
    return ", ".join(map(str, keys[:SHOWN])) + more
