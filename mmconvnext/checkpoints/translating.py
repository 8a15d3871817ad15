"""Bringing weights from one layout's names and shapes to another's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mmconvnext.checkpoints.formats import Format, recognise

CLASSIFIER = "classifier"
FINAL_NORM = "norm before the classifier"
REST = "not part of the backbone"

_GAPS = {
    "s": r"\d",
    "b": r"\d+",
    "n": "[01]",
    "k": "[12]",
    "w": "weight|bias|running_mean|running_var|num_batches_tracked",  # a BatchNorm's, too
}


@dataclass
class Converted:
    """A file's weights under our names, and what was left out: reason → the file's keys."""

    format: Format
    prefix: str
    weights: dict[str, Tensor]
    dropped: dict[str, list[str]] = field(default_factory=dict)


def to_native(weights: Mapping[str, Tensor], known: Format, prefix: str) -> Converted:
    """``weights`` of the format ``known`` under our names and in our shapes."""
    rules = [(_pattern(there), here) for there, here in known.table]
    converted = Converted(known, prefix, {})
    for key, value in weights.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else ""
        if known.prepare is not None:
            name, value = known.prepare(name, value)
        ours = _translated(name, rules)
        if ours is not None:
            converted.weights[ours] = _shaped(ours, value)
        else:
            converted.dropped.setdefault(_reason(name or key, known), []).append(key)
    return converted


def from_native(weights: Mapping[str, Tensor], known: Format) -> dict[str, Tensor]:
    """Our ``weights`` under the names of the format ``known``.

    Raises:
        ValueError: that format has no name for some of them.
    """
    rules = [(_pattern(here), there) for there, here in known.table]
    found, lacking = {}, []
    for name, value in weights.items():
        theirs = _translated(name, rules)
        if theirs is None:
            lacking.append(name)
        else:
            found[theirs] = value
    if lacking:
        raise ValueError(f"{known.name} has no name for {len(lacking)} weights: {lacking[0]}, …")
    return found


def translate(
    weights: dict[str, Tensor], prefix: str, expected: Mapping[str, Tensor]
) -> Converted | None:
    """Bring a network's weights, in place, under our names and into the shapes of its model.

    Args:
        weights: a whole model's.
        prefix: what stands before the network's names in it.
        expected: the network's own weights.

    Returns:
        What was found and left out; None if there are none. What is no part of the backbone stays
        where it is, unlike its classifier.
    """
    known = recognise(weights, prefix)
    if known is None:
        return None
    converted = to_native(
        {key: value for key, value in weights.items() if key.startswith(prefix)}, *known
    )
    left_out = {
        key for reason in (CLASSIFIER, FINAL_NORM) for key in converted.dropped.get(reason, ())
    }
    kept = {key for keys in converted.dropped.values() for key in keys} - left_out
    for key in [key for key in weights if key.startswith(prefix) and key not in kept]:
        del weights[key]
    for name, value in converted.weights.items():
        weights[prefix + name] = in_shape_of(value, expected.get(name))
    return converted


def in_shape_of(value: Tensor, expected: Tensor | None) -> Tensor:
    """``value`` as ``expected`` where the two differ by axes of length 1 only."""
    if expected is None or value.shape == expected.shape:
        return value
    long = [size for size in value.shape if size != 1]
    return value.reshape(expected.shape) if long == [n for n in expected.shape if n != 1] else value


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for gap, allowed in _GAPS.items():
        text = text.replace(rf"\{{{gap}\}}", f"(?P<{gap}>{allowed})")
    return re.compile(text)


def _translated(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rules:
        match = pattern.fullmatch(name)
        if match:
            return template.format(**match.groupdict())
    return None


def _shaped(name: str, value: Tensor) -> Tensor:
    """Vectors as vectors, GRN's as (1, 1, 1, C), pointwise layers as matrices."""
    if ".grn." in name:
        return value.reshape(1, 1, 1, -1)
    if name.endswith((".gamma", ".bias")):
        return value.reshape(-1)
    if ".pwconv" in name:
        return value.flatten(1) if value.ndim > 1 else value
    return value


def _reason(name: str, known: Format) -> str:
    if known.final_norm and _pattern(known.final_norm).fullmatch(name):
        return FINAL_NORM
    last_parts = name.split(".")[:-1]
    return CLASSIFIER if {"head", "fc", "classifier"} & set(last_parts) else REST
