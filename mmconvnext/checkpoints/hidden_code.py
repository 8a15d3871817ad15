"""Where a checkpoint can hide code: in its pickle, and in the config that mmengine puts beside the
weights and runs when it resumes. Finding it runs nothing."""

from __future__ import annotations

import ast
import pickletools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import torch

# What PyTorch's safe unpickler says when it refuses, and what that means.
_REFUSALS = (
    (re.compile(r"GLOBAL (\S+)"), "it refers to {}"),
    (re.compile(r"unrecognized function (.+?)(?: which belongs to |\n|$)"), "it calls {}"),
    (re.compile(r"Can only .+ but got <class '(\S+)'>"), "it fills a {}"),
    (
        re.compile(r"Cannot use `*weights_only=True`* with (.+?)(?: passed to|\.(?:\s|$))"),
        "it is one of the {}",
    ),
)
_OTHER_PROTOCOL = "Unsupported operand"
_HARMLESS = ("collections.", "torch.", "numpy.")
_PICKLES_IN_A_FILE = 5  # of PyTorch's old format: magic number, version, system, content, keys

# Where mmengine looks for the text of a config, which it runs as Python: `Runner.resume` and the
# inferencers.
_CONFIGS = (("meta", "config"), ("meta", "cfg"), ("message_hub", "runtime_info", "cfg"))
_HARMLESS_CALLS = ("dict", "set", "slice", "range")


def code_in_refusal(message: str, file: Path | None = None) -> str | None:
    """What in a file PyTorch's safe loading stopped at, None if it failed for another reason.

    Args:
        message: of the error.
        file: to look into where the message names nothing, which is so for the newer pickle
            protocols.
    """
    for pattern, meaning in _REFUSALS:
        if found := pattern.search(message):
            return meaning.format(found[1])
    if _OTHER_PROTOCOL not in message:
        return None
    names = _globals_of(file) if file else []
    if names is None:
        return None
    shown = [name for name in names if not name.startswith(_HARMLESS)] or names
    if not shown:
        return "it is a pickle of another protocol than torch.save's"
    return f"it refers to {', '.join(shown[:3])}"


def code_in_config(content: Any) -> str | None:
    """What in a checkpoint's own config is more than settings, None if nothing is."""
    for place in _CONFIGS:
        text = content
        try:
            for key in place:
                text = None if torch.is_tensor(text) else text[key]
        except Exception:  # whatever stands there instead: mmengine does not get a text either
            continue
        if isinstance(text, str) and (found := _statement_beyond_settings(str(text))):
            return f"its config in {'.'.join(place)} has `{found}`"
    return None


def _statement_beyond_settings(text: str) -> str | None:
    """The first line of a config's text that does more than set a name to plain values."""
    if "{{" in text:  # mmengine puts something else there before it runs the text
        return next(line for line in text.splitlines() if "{{" in line).strip()[:80]
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # it does not run in mmengine either
    for statement in module.body:
        if not _is_setting(statement):
            return ast.unparse(statement).partition("\n")[0][:80]
    return None


def _is_setting(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    # `_base_` runs another file, and `dict = …` would make calls of something else.
    return (
        isinstance(statement, ast.Assign)
        and all(
            isinstance(target, ast.Name) and target.id not in ("_base_", *_HARMLESS_CALLS)
            for target in statement.targets
        )
        and _is_plain(statement.value)
    )


def _is_plain(node: ast.AST | None) -> bool:
    """Whether an expression is made of constants alone."""
    if isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and node.func.id in _HARMLESS_CALLS
        return known and all(map(_is_plain, [*node.args, *(k.value for k in node.keywords)]))
    if isinstance(node, ast.Dict):
        return all(key is None or _is_plain(key) for key in node.keys) and all(
            map(_is_plain, node.values)
        )
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(_is_plain, node.elts))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant) or (
        isinstance(node, ast.Name) and node.id in ("inf", "nan")
    )


def _globals_of(file: Path) -> list[str] | None:
    """Names of all that the pickles of a file refer to; None if it starts with none."""
    try:
        with ZipFile(file) as archive:
            inner = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(inner) as stream:
                return list(dict.fromkeys(_globals(stream)))
    except BadZipFile:
        pass
    except (StopIteration, ValueError):
        return None
    found: dict[str, None] = {}
    with file.open("rb") as stream:
        for count in range(_PICKLES_IN_A_FILE):
            try:
                found |= dict.fromkeys(_globals(stream))
            except ValueError:  # no pickle, or the end of the pickles
                if not count:
                    return None
                break
    return list(found)


def _globals(stream: BinaryIO | Any) -> Iterator[str]:
    """Names that one pickle refers to.

    Raises:
        ValueError: it is no pickle.
    """
    memo: dict[int, str] = {}
    strings = [""]
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1]
        elif opcode.name.endswith("PUT"):
            memo[int(str(argument))] = strings[-1]
        elif opcode.name.endswith("GET"):
            strings.append(memo.get(int(str(argument)), ""))
        elif isinstance(argument, str):
            strings.append(argument)
