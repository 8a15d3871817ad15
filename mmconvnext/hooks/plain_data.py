"""Batches of mmengine's data elements as plain data: reading a file of them runs no code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

# The packages whose classes a file may name; what else it names is not imported.
_KNOWN = ("mmengine.structures", "mmdet.structures", "mmseg.structures")
_CLASS, _FIELDS, _META = "__class__", "fields", "metainfo"
_ARRAY = "numpy.ndarray"


def to_plain(value: Any) -> Any:
    """``value`` as tensors on the CPU, Python's own types, and lists, tuples and dicts of them.

    Raises:
        TypeError: something in it is of a type that :func:`from_plain` could not make again.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_CLASS: _ARRAY, _FIELDS: torch.from_numpy(np.ascontiguousarray(value).copy())}
    if isinstance(value, BaseDataElement):
        return {
            _CLASS: _name_of(type(value)),
            _FIELDS: {name: to_plain(field) for name, field in value.items()},
            _META: {name: to_plain(field) for name, field in value.metainfo_items()},
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    # mmdet's boxes and masks
    return {_CLASS: _name_of(type(value)), _FIELDS: to_plain(vars(value))}


def from_plain(plain: Any) -> Any:
    """What :func:`to_plain` was given, on the CPU; a named tuple is a tuple now.

    Raises:
        TypeError: it names a class of another package than mmengine, mmdet and mmseg.
        ImportError: that package is not installed.
    """
    if isinstance(plain, Mapping):
        if _CLASS not in plain:
            return {key: from_plain(item) for key, item in plain.items()}
        return _object(plain)
    if isinstance(plain, (list, tuple)):
        return type(plain)(from_plain(item) for item in plain)
    return plain


def tensors_in(plain: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in what :func:`to_plain` gave, each with its path: ``inputs[0]``,
    ``data_samples[1].gt_instances.bboxes``."""
    if isinstance(plain, Tensor):
        yield path, plain
    elif isinstance(plain, Mapping):
        fields = plain.get(_FIELDS) if _CLASS in plain else plain
        if not isinstance(fields, Mapping):  # an array
            yield from tensors_in(fields, path)
            return
        for key, item in fields.items():
            yield from tensors_in(item, f"{path}.{key}" if path else str(key))
    elif isinstance(plain, (list, tuple)):
        for number, item in enumerate(plain):
            yield from tensors_in(item, f"{path}[{number}]")


def pictures_in(value: Any) -> list[str]:
    """The path of each picture in a batch, or, where its sample does not keep that, its id."""
    if isinstance(value, BaseDataElement):
        known = {name: value.get(name) for name in ("img_path", "img_id")}
        told = [str(name) for name in known.values() if name is not None]
        return told[:1]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in pictures_in(item)]
    return []


def _name_of(kind: type) -> str:
    if not _is_known(kind.__module__):
        raise TypeError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept")
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_known(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in _KNOWN)


def _object(plain: Mapping[str, Any]) -> Any:
    name = plain[_CLASS]
    if name == _ARRAY:
        return plain[_FIELDS].numpy()
    module, _, kind = str(name).rpartition(".")
    if not _is_known(module):
        raise TypeError(f"a {name} is not made: expected a class of {', '.join(_KNOWN)}")
    made = getattr(import_module(module), kind)
    if not isinstance(made, type):
        raise TypeError(f"{name} is no class")
    fields = from_plain(plain[_FIELDS])
    if issubclass(made, BaseDataElement):
        element = made(metainfo=from_plain(plain[_META]))
        for key, field in fields.items():
            setattr(element, key, field)
        return element
    built: Any = object.__new__(made)
    vars(built).update(fields)
    return built
