"""Checkpoints that could run code: refused, or, if the user says so, read all the same."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mmconvnext.checkpoints.hidden_code import code_in_config, code_in_refusal

OPTION, VARIABLE = "--trust-checkpoint", "MMCONVNEXT_TRUST_CHECKPOINT"
_TRUE = ("1", "true", "yes", "y")
# PyTorch's own switches: they reach every torch.load, whatever its caller passes or leaves out.
_ONLY_WEIGHTS, _NOT_ONLY_WEIGHTS = (
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
)
_environment = threading.RLock()


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit; the message is one line."""


def trusts() -> bool:
    """Whether the user vouches for the checkpoints that are read."""
    return os.environ.get(VARIABLE, "").lower() in _TRUE


@contextmanager
def trusting(on: bool = True) -> Iterator[None]:
    """Inside, checkpoints with code in them are read, and their code runs; ``on=False`` leaves it
    to the environment. The processes that are started inside inherit it."""
    with _variables({VARIABLE: "1"} if on else {}):
        yield


def read_guarded(read: Callable[[bool], Any], name: str, file: Path | None = None) -> Any:
    """``read(True)``, and ``read(False)`` where that is refused and the user trusts the file.

    Args:
        read: reads the file; its argument is torch.load's ``weights_only``.
        name: of the file, for the message.
        file: where it lies.

    Raises:
        CheckpointError: there is code in the file; the message names it.
        Exception: what ``read`` raises for other reasons.
    """
    try:
        content = read(True)
    except Exception as error:
        code = code_in_refusal(str(error), file)
        if code is None:
            raise
        _refuse_or_tell(name, code, error)
        return read(False)
    _check_config(name, content)
    return content


def read_by_others(read: Callable[[], Any], name: str) -> Any:
    """``read()``, in which every ``torch.load`` is safe however it is called.

    Raises:
        CheckpointError: there is code in the file; the message names it.
        Exception: what ``read`` raises for other reasons.
    """
    trusted = trusts()
    if trusted:
        _refuse_or_tell(name, "it comes by a scheme whose files are not looked into first")
    wanted = {_ONLY_WEIGHTS: str(int(not trusted)), _NOT_ONLY_WEIGHTS: str(int(trusted))}
    try:
        with _environment, _variables(wanted):
            content = read()
    except CheckpointError:
        raise
    except Exception as error:
        code = code_in_refusal(str(error))
        if code is None:
            raise
        raise refusal(name, code) from error
    _check_config(name, content)
    return content


def refusal(name: str, code: str) -> CheckpointError:
    """The error for a file with ``code`` in it."""
    return CheckpointError(
        f"checkpoint {name}: refused, since reading it could run code: {code}; only weights and "
        f"what mmengine itself writes are read; if you trust its origin: {OPTION}, or {VARIABLE}=1"
    )


def _check_config(name: str, content: Any) -> None:
    """mmengine runs the config in a checkpoint, so that is looked into like the rest."""
    code = code_in_config(content)
    if code is not None:
        _refuse_or_tell(name, code)


def _refuse_or_tell(name: str, code: str, cause: Exception | None = None) -> None:
    if not trusts():
        raise refusal(name, code) from cause
    _tell(name, code)


@cache  # train and test read a file twice: to check it, and to run
def _tell(name: str, code: str) -> None:
    """Say on stderr, whatever the log's level and the filters of warnings, that code may run."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(
            f"mmconvnext: WARNING: checkpoint {name} is trusted ({OPTION} or {VARIABLE}=1), so "
            f"code in it may run: {code}\n"
        )
        sys.stderr.flush()


@contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    """Inside, the environment has these variables."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
