"""A dumped config as values, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMES = {"inf": float("inf"), "nan": float("nan")}


def parse_config(content: str) -> dict[str, Any] | None:
    """The settings in the text that mmengine dumps: assignments of plain values.

    Returns:
        Name -> value, or None where the text is something else, such as a config with code.
    """
    try:
        module = ast.parse(content)
        return {
            target.id: _value(node.value)
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Any:
    """As ast.literal_eval, and with ``dict(key=value)``, which mmengine writes."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("dict() of something")
        return {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [_value(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    return ast.literal_eval(node)


def setting(config: Mapping[str, Any] | None, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all configs: dotted path, and each config's value as text
    (``''`` where it has none)."""
    flat = [dict(_flat(config)) for config in configs]
    paths = {path: None for settings in flat for path in settings}
    found = []
    for path in paths:
        values = [settings.get(path, "") for settings in flat]
        if len(set(values)) > 1:
            found.append((path, values))
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{index}")
    else:
        yield path, repr(value)
