"""What mmengine keeps by name for the whole process."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.utils import ManagerMixin


def forget_names() -> None:
    """A run of a name that an earlier one had would get that one's registries and folder."""
    for kind in _all_kinds(ManagerMixin):
        kind._instance_dict.clear()


def _all_kinds(parent: type) -> Iterator[type]:
    for kind in parent.__subclasses__():
        yield kind
        yield from _all_kinds(kind)
