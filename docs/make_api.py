"""Writes docs/api.md from the package's signatures and docstrings; with --check, compares instead.

pdoc writes HTML only, mkdocstrings needs a site around it, lazydocs is no longer kept: for one page
of Markdown that a test can compare wherever the tests run, the standard library has everything.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "api.md"
HEAD = """\
# From Python

Written by `make api` from the docstrings; a test compares the two. What is not here may change from
one version to the next.
"""
# Module: names; none given: those of its __all__.
PUBLIC: dict[str, tuple[str, ...]] = {
    "mmconvnext": (
        "ConvNeXt",
        "RoadNet",
        "LayerDecayOptimWrapperConstructor",
        "load_checkpoint",
        "optimize_for_inference",
    ),
    "mmconvnext.adapt": (),
    "mmconvnext.classification": (),
    "mmconvnext.checkpoints.zoo": ("Weights", "find_weights_name"),
    "mmconvnext.checkpoints.reading": ("CheckpointError",),
    "mmconvnext.recipes": ("Recipe", "load_recipes"),
    "mmconvnext.data": (),
    "mmconvnext.evaluation.coco_metric": ("FastCocoMetric",),
    "mmconvnext.evaluation.iou_metric": ("FastIoUMetric",),
    "mmconvnext.export.exporting": ("Export", "export", "ExportError", "DiffersError"),
    "mmconvnext.heads.upernet": ("FastUPerHead",),
    "mmconvnext.hooks": (),
    "mmconvnext.inference": ("CompilerError", "check_compiler", "compile_backbones"),
    "mmconvnext.strategies": (),
    "mmconvnext.visualization": (),
}
SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:")
LONGEST = 100
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for module_name, chosen in PUBLIC.items():
        module = import_module(module_name)
        parts.append(f"## {module_name}\n")
        parts.append(f"{prose(inspect.getdoc(module) or '')}\n")
        names = chosen or sorted(module.__all__, key=str.lower)
        parts += [entry(name, getattr(module, name)) for name in names]
    return "\n".join(parts)


def entry(name: str, item: Any) -> str:
    """One class, function or constant."""
    if not callable(item):
        # Not as Python: ruff, which formats that in Markdown too, would break it otherwise.
        return f"### {name}\n\n```text\n{wrapped(repr(item))}\n```\n"
    node = ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]
    lines = [f"### {name}\n", "```python", signature(node), "```\n"]
    lines.append(f"{prose(inspect.cleandoc(ast.get_docstring(node) or ''))}\n")
    if isinstance(node, ast.ClassDef):
        methods = list(summaries(node))
        lines += [*methods, ""] if methods else []
    return "\n".join(lines)


def signature(node: ast.stmt) -> str:
    """What is written to call ``node``: for a class its __init__, or its fields."""
    if isinstance(node, FUNCTIONS):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return call(node.name, node.args, returned)
    assert isinstance(node, ast.ClassDef)
    for part in node.body:
        if isinstance(part, FUNCTIONS) and part.name == "__init__":
            return call(node.name, part.args, "")
    fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    inherited = ", ".join(ast.unparse(base) for base in node.bases)
    return spread(node.name, fields, "") if fields else f"class {node.name}({inherited})"


def call(name: str, arguments: ast.arguments, returned: str) -> str:
    """A function's call; ``self`` is left out."""
    positional = [*arguments.posonlyargs, *arguments.args]
    values: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    named = zip(positional, [*values, *arguments.defaults], strict=True)
    parts = [argument(arg, value) for arg, value in named if arg.arg not in ("self", "cls")]
    if arguments.vararg:
        parts.append(f"*{argument(arguments.vararg)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parts += [argument(arg, value) for arg, value in only]
    if arguments.kwarg:
        parts.append(f"**{argument(arguments.kwarg)}")
    return spread(name, parts, returned)


def argument(arg: ast.arg, value: ast.expr | None = None) -> str:
    """``name: type = value``."""
    text = ast.unparse(arg)
    return text if value is None else f"{text} = {ast.unparse(value)}"


def spread(name: str, parts: list[str], returned: str) -> str:
    """On one line if it fits, otherwise a line for each part."""
    line = f"{name}({', '.join(parts)}){returned}"
    if len(line) <= LONGEST:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returned}"])


def summaries(node: ast.ClassDef) -> Iterator[str]:
    """A line for each method of the class that has something to say."""
    for part in node.body:
        if isinstance(part, FUNCTIONS) and not part.name.startswith("_"):
            text = " ".join((ast.get_docstring(part) or "").split("\n\n")[0].split())
            if text:
                yield f"- `{part.name}`: {plain(text)}"


def prose(text: str) -> str:
    """A docstring as Markdown: its sections are lists."""
    lines, section = [], ""
    for line in text.splitlines():
        if line in SECTIONS:
            section = line
            lines += [f"**{line[:-1]}**", ""]
        elif section and line.startswith("    "):
            lines.append(item(line[4:], section))
        else:
            section = section if not line else ""
            lines.append(line)
    return plain("\n".join(lines))


def item(line: str, section: str) -> str:
    """A line of a section: names of arguments and errors begin an item."""
    match = re.fullmatch(r"(\*{0,2}\w[\w, ]*): (.*)", line)
    if section in ("Args:", "Raises:") and match:
        return f"- `{match[1]}`: {match[2]}"
    return f"  {line.strip()}".rstrip() if section in ("Args:", "Raises:") else line


def plain(text: str) -> str:
    """reStructuredText's marks as Markdown's."""
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")


def wrapped(text: str) -> str:
    """``text`` broken at spaces."""
    return "\n".join(textwrap.wrap(text, LONGEST, break_long_words=False, break_on_hyphens=False))


def main() -> int:
    """Write the page, or with --check say whether it is what would be written."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE}: is not what the docstrings say; `make api` writes it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
