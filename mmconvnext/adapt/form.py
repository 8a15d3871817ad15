"""What the parts of a config have to be before a ConvNeXt can be put into it."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.walking import dicts

_LONGEST = 60  # characters of a value in a message
_LISTS = (list, tuple)


def check_config(cfg: Config) -> None:
    """Check the parts of a config outside of its backbone's owners.

    Raises:
        AdaptError: the first that is something else than mmengine takes: its place, what was
            expected, what was found.
    """
    if not isinstance(cfg.get("model"), dict):
        raise AdaptError("the config has no model")
    _expect(cfg, "", "default_scope", str, "a package's name")
    imports = _expect(cfg, "", "custom_imports", dict, "a dict with the list imports")
    if imports is not None:
        names = _expect(imports, "custom_imports.", "imports", (str, *_LISTS), "a list of modules")
        if names is None:
            raise AdaptError("custom_imports has no imports; give it a list of modules")
    wrapper = _expect(cfg, "", "optim_wrapper", dict, "a dict")
    if wrapper:
        place = "optim_wrapper."
        optimizer = _expect(wrapper, place, "optimizer", dict, "a dict")
        for key in ("lr", "weight_decay"):
            _expect(optimizer, f"{place}optimizer.", key, (int, float), "a number")
        paramwise = _expect(wrapper, place, "paramwise_cfg", dict, "a dict")
        _expect(paramwise, f"{place}paramwise_cfg.", "custom_keys", dict, "a dict")
    _expect(cfg, "", "auto_scale_lr", dict, "a dict")
    for node, path in dicts(cfg._cfg_dict):
        if str(node.get("type")).lower().endswith("datapreprocessor"):
            for key in ("mean", "std"):
                _expect(node, f"{path}.", key, _LISTS, "a list of numbers")


def check_owner(owner: dict[str, Any], path: str) -> None:
    """Check what has a backbone, and its parts.

    Args:
        owner: the part of the model.
        path: its place in the config, ending in a point.

    Raises:
        AdaptError: as :func:`check_config`.
    """
    old, place = owner["backbone"], f"{path}backbone."
    _expect(old, place, "frozen_stages", int, "the number of frozen stages, -1 for none", "-1")
    _expect(old, place, "in_channels", int, "a number of channels", "3")
    _expect(old, place, "_scope_", str, "a package's name")
    neck = _expect(owner, path, "neck", (dict, *_LISTS), "a dict, or a list of dicts")
    if isinstance(neck, _LISTS):
        if not neck or not all(isinstance(part, dict) for part in neck):
            raise AdaptError(f"{path}neck: expected dicts in the list, found {_told(neck)}")
        neck, path = neck[0], f"{path}neck.0."
    else:
        path = f"{path}neck."
    _expect(neck, path, "start_level", int, "the number of a level, from 0", "0")
    for key in ("in_channels", "in_channel"):
        value = _expect(neck, path, key, (int, *_LISTS), "a number of channels, or a list of them")
        if isinstance(value, _LISTS) and not all(isinstance(count, int) for count in value):
            raise AdaptError(f"{path}{key}: expected numbers in the list, found {_told(value)}")


def _expect(
    node: Any, path: str, key: str, kinds: type | tuple[type, ...], what: str, default: str = ""
) -> Any:
    """``node[key]`` if it is of ``kinds``; None if it is not there. ``default``: of an argument for
    which None is no value."""
    if node is None or key not in node:
        return None
    value = node[key]
    if isinstance(value, kinds) or (value is None and not default):
        return value
    hint = f"; leave it out for {default}" if default else ""
    raise AdaptError(f"{path}{key}: expected {what}, found {_told(value)}{hint}")


def _told(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
