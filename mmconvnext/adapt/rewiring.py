"""Correcting what reads a backbone's maps: channel counts of necks and heads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.levels import Levels
from mmconvnext.adapt.walking import dicts, plain

_CHANNEL_KEYS = ("in_channels", "in_channel")
# Parts of a model that do not read this backbone's maps.
_OTHERS = ("backbone", "neck", "data_preprocessor", "train_cfg", "test_cfg", "init_cfg")
_TEACHER = "teacher_"
# Necks that hand on all maps but the last as they are.
_HANDING_ON = ("JPU",)
_FEEDING_BACK = "RFP"
_SEGMENTORS_HEAD = r"(decode|auxiliary)_head(\.\d+)?"


class Rewiring:
    """The change of one backbone, carried into the parts that read its maps.

    Args:
        owner: the part of the model that has the backbone; changed in place.
        path: its place in the config, ending in a point.
        old: the maps as they were.
        new: the maps as they are.
    """

    def __init__(self, owner: dict[str, Any], path: str, old: Levels, new: Levels) -> None:
        self.owner, self.path = owner, path
        self.old, self.new = list(old.channels), list(new.channels)
        self.gives = f"{path}backbone gives {old}"
        self.changes: list[str] = []
        self.used: set[int] = set()

    def run(self) -> None:
        """Change everything.

        Raises:
            AdaptError: a part's channel counts are not the backbone's, no part's are, or it is made
                of the old backbone's layers.
        """
        first, path = first_neck(self.owner, self.path)
        if first is not None and not set(_CHANNEL_KEYS).isdisjoint(first):
            self._neck(first, path)
            self._handed_on(first, path)
            if first.get("type") in _HANDING_ON:
                self._heads(range(len(self.old) - 1))
        else:  # a neck without such a setting, pooling say, leaves the channels as they are
            self._heads(range(len(self.old)))
            self._single_level()
        if not self.used:
            raise AdaptError(
                f"{self.gives}; no neck or head was found whose in_channels are of these, so that "
                "what reads them cannot be corrected"
            )

    def _neck(self, neck: dict[str, Any], path: str) -> None:
        first = neck.get("start_level", 0)
        self.used |= set(range(first, len(self.old)))
        for key in _CHANNEL_KEYS:
            if key in neck:
                value = neck[key]
                mapped = self._mapped(value)
                if mapped is None:
                    raise AdaptError(f"{path}.{key}={value} does not fit: {self.gives}")
                self._set(neck, key, mapped, path)
                if isinstance(value, int):
                    self.used = {self.new.index(mapped)}

    def _handed_on(self, neck: dict[str, Any], path: str) -> None:
        """SSD's neck gives the backbone's maps as they are, and more of its own after them."""
        given, count = neck.get("out_channels"), len(self.old)
        if not isinstance(given, (list, tuple)) or list(given[:count]) != self.old:
            return
        new = [*self.new, *given[count:]]
        self._set(neck, "out_channels", new, path)
        for node, place in self._nodes():
            if plain(node.get("in_channels")) == plain(given):
                self._set(node, "in_channels", new, place)

    def _mapped(self, value: Any) -> Any:
        """A neck's channel counts, for the new maps; None if they are not the old ones'."""
        if isinstance(value, (list, tuple)):
            if list(value) == self.old:
                return list(self.new)
            if sorted(value) == sorted(self.old) and len(set(value)) == len(value):
                return [self.new[self.old.index(count)] for count in value]
            return None
        if value == self.old[-1]:
            return self.new[-1]
        return self.new[self.old.index(value)] if self.old.count(value) == 1 else None

    def _heads(self, levels: range) -> None:
        """The parts that say which maps they read, or that read all of them."""
        for node, path in self._nodes():
            is_head = re.fullmatch(_SEGMENTORS_HEAD, path.removeprefix(self.path))
            if "in_channels" not in node:
                continue
            channels, index = node["in_channels"], node.get("in_index")
            if index is None and is_head and isinstance(channels, int):
                index = -1  # mmseg's default
            if isinstance(channels, (list, tuple)) and list(channels) == self.old and index is None:
                self._read(node, path, list(levels), list(self.new))
            elif isinstance(channels, (list, tuple)) and isinstance(index, (list, tuple)):
                if self._are(index, channels, levels):
                    self._read(node, path, index, [self.new[i] for i in index])
            elif isinstance(index, int) and self._are([index], [channels], levels):
                self._read(node, path, [index], self.new[index])
            if node.get("c1_in_channels") == self.old[0]:
                self.used.add(0)
                self._set(node, "c1_in_channels", self.new[0], path)

    def _are(self, index: Any, channels: Any, levels: range) -> bool:
        """Whether maps ``index`` of the old backbone, of those in ``levels``, have ``channels``."""
        if not all(isinstance(i, int) for i in index):
            return False
        places = [i % len(self.old) for i in index]
        return set(places) <= set(levels) and [self.old[i] for i in places] == list(channels)

    def _read(self, node: dict[str, Any], path: str, index: Any, channels: Any) -> None:
        self.used |= {i % len(self.old) for i in index}
        if node.get("num_convs") == 0 and node.get("channels") == node["in_channels"]:
            self._set(node, "channels", channels, path)  # FCN's head without layers of its own
        self._set(node, "in_channels", channels, path)

    def _single_level(self) -> None:
        """mmdet's detectors on one map, without a neck: their heads read it, whatever says so."""
        if self.used or len(self.old) != 1:
            return
        head = self.owner.get("roi_head")
        shared = head.get("shared_head") if isinstance(head, dict) else None
        if isinstance(shared, dict):
            raise AdaptError(
                f"{self.path}roi_head.shared_head ({shared.get('type')}) is the last "
                "stage of the old backbone and takes its channels only; use the method's config "
                "with an FPN"
            )
        self.used = {0}
        for node, path in self._nodes():
            for key in ("in_channels", "out_channels"):
                extractor = key == "out_channels" and path.endswith("roi_extractor")
                if node.get(key) == self.old[0] and (key == "in_channels" or extractor):
                    self._set(node, key, self.new[0], path)

    def _nodes(self) -> Iterator[tuple[dict[str, Any], str]]:
        for key, value in self.owner.items():
            if key not in _OTHERS and not str(key).startswith(_TEACHER):
                yield from dicts(value, f"{self.path}{key}")

    def _set(self, node: dict[str, Any], key: str, value: Any, path: str) -> None:
        if plain(node[key]) != value:
            self.changes.append(f"{path}.{key}: {plain(node[key])} -> {value}")
            # JPU takes tuples only, SSD's neck compares them.
            node[key] = tuple(value) if isinstance(node[key], tuple) else value


def first_neck(owner: dict[str, Any], path: str) -> tuple[dict[str, Any] | None, str]:
    """The neck that reads the backbone's maps, and its place; None if there is none."""
    neck = owner.get("neck")
    if isinstance(neck, (list, tuple)):
        return neck[0], f"{path}neck.0"
    return neck, f"{path}neck"


def check_neck(owner: dict[str, Any], path: str) -> None:
    """Check that the neck is not made for one kind of backbone.

    Raises:
        AdaptError: it is.
    """
    neck, where = first_neck(owner, path)
    if neck is not None and neck.get("type") == _FEEDING_BACK:
        raise AdaptError(
            f"{where} (RFP) feeds its maps back into a backbone of its own kind (rfp_backbone), "
            "which a ConvNeXt is not; use a config without RFP"
        )
