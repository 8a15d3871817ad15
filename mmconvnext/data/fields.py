"""What the fields of a COCO file's entries have to be for the entries to refer to each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_TEXTS = ("file_name", "name")  # the others are ids
_LONGEST = 60  # characters of a value in a message


def misfit(entry: dict[str, Any], fields: Iterable[str]) -> str:
    """What is wrong with the first of ``fields`` that is no name and no id; empty if none is.

    An id may be text, and a whole number written with a point, as some programs do.
    """
    for field in fields:
        value = entry[field]
        text = isinstance(value, str)
        number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not text and (field in _TEXTS or not number):
            expected = "text" if field in _TEXTS else "a whole number or text"
            return f"expected {expected} as its {field!r}, found {_told(value)}"
    return ""


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
