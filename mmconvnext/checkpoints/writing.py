"""Writing weights and metadata: a file is there whole, or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

SAFETENSORS = ".safetensors"
_META = "meta"  # in .pth a dict, in .safetensors, where values are text, the same as JSON
_TEXTS = "safetensors"  # in `meta`: the other texts of a .safetensors file
_LOST = object()


def write_checkpoint(
    path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any], place: str = "state_dict"
) -> None:
    """Write a ``.safetensors`` file, or one of ``torch.save`` with ``place`` and ``meta`` in it.

    Args:
        path: of the file; its folder is made if there is none.
        weights: to write, in their dtype.
        meta: plain data, as :func:`read_meta` gives it.
        place: under which name the weights go into a file of ``torch.save``.

    Raises:
        OSError: the file cannot be written, and why; nothing of it is left.
    """

    def write(file: Path) -> None:
        if path.suffix == SAFETENSORS:
            from safetensors.torch import save_file

            save_file(_compact(weights, apart=True), file, _as_texts(meta))
        else:
            with file.open("wb") as opened:
                content = {place: _compact(weights, apart=False), _META: dict(meta)}
                torch.save(content, opened)

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a file beside ``path``, which takes its place once it is on the disk.

    Raises:
        OSError: it cannot be written, and why; nothing is left, new folders included.
    """
    try:
        with whole_file(path) as unfinished:
            write(unfinished)
    except Exception as error:
        raise OSError(f"cannot write {path}: {_reason(error)}") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to fill, which takes its place once it is on the disk.

    Raises:
        OSError: the system's. Whatever is raised inside, nothing is left, new folders included.
    """
    folders = [folder for folder in path.parents if not folder.exists()]
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        unfinished.chmod(mode)  # safetensors makes files that only their owner can read
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        for folder in folders:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def read_meta(source: str, content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint's metadata, of either kind of file.

    Args:
        source: the file, or its address.
        content: of it, as ``read_checkpoint`` gives it.

    Returns:
        What is plain data, and the names of what is not.
    """
    lost: list[str] = []
    meta = content.get(_META)
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    texts = _texts_of(source)
    if _META in texts:
        meta |= _parsed(texts.pop(_META))
    texts.pop("format", None)  # which framework wrote it
    if texts:
        meta[_TEXTS] = texts
    return _plain(meta, _META, lost), lost


def _texts_of(source: str) -> dict[str, str]:
    """The metadata of a ``.safetensors`` file."""
    if source.startswith(("http://", "https://")):
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(source).path).name)
    else:
        file = Path(source).expanduser()
    if file.suffix != SAFETENSORS or not file.exists():
        return {}
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata() or {})


def _as_texts(meta: Mapping[str, Any]) -> dict[str, str]:
    others = dict(meta)
    texts = others.pop(_TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        others[_TEXTS], texts = texts, {}
    return {**texts, "format": "pt", _META: json.dumps(others)}


def _parsed(text: str) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except ValueError:
        meta = text  # somebody else's
    return meta if isinstance(meta, dict) else {_META: meta}


def _plain(value: Any, name: str, lost: list[str]) -> Any:
    """``value`` in Python's own types, so that whoever reads the file needs nothing else; the names
    of what cannot be so are added to ``lost``."""
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's float64 is a float
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist(), name, lost)
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{name}[{i}]", lost) for i, item in enumerate(value)]
        items = [item for item in items if item is not _LOST]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        pairs = {
            key: _plain(item, f"{name}.{key}", lost)
            for key, item in value.items()
            if isinstance(key, (str, int))
        }
        lost += [f"{name}.{key}" for key in value if not isinstance(key, (str, int))]
        return {key: item for key, item in pairs.items() if item is not _LOST}
    lost.append(name)
    return _LOST


def _compact(weights: Mapping[str, Tensor], *, apart: bool) -> dict[str, Tensor]:
    """Tensors that fill their memory, so that no more than them is written; ``apart``: also in
    order and with no memory in common, which safetensors asks for."""
    found: dict[str, Tensor] = {}
    memories: set[int] = set()
    for name, value in weights.items():
        value = value.detach()
        if apart:
            value = value.contiguous()
        memory = value.untyped_storage()
        part = memory.nbytes() != value.numel() * value.element_size()
        if part or (apart and memory.data_ptr() in memories):
            value = value.clone()
        memories.add(value.untyped_storage().data_ptr())
        found[name] = value
    return found


def _reason(error: BaseException) -> str:
    """The system's reason for what PyTorch or safetensors raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).partition("I/O error: ")[2] or str(error) or type(error).__name__
