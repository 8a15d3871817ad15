"""What the fields of a COCO file's entries have to be for the entries to refer to each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_TEXTS = ("file_name", "name")  # the others are ids
_LONGEST = 60  # characters of a value in a message


def is_id(value: Any) -> bool:
    """Whether ``value`` tells entries apart: text or a whole number, which some programs write
    with a point."""
    return isinstance(value, (int, str)) or (isinstance(value, float) and value.is_integer())


def misfit(entry: dict[str, Any], fields: Iterable[str]) -> str:
    """What is wrong with the first of ``fields`` that is no name and no id; empty if none is."""
    for field in fields:
        value = entry[field]
        if field in _TEXTS and not isinstance(value, str):
            return f"expected text as its {field!r}, found {_told(value)}"
        if field not in _TEXTS and not is_id(value):
            return f"expected a whole number or text as its {field!r}, found {_told(value)}"
    return ""


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
