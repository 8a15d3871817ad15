"""The coverage table as a Markdown page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from mmconvnext.cli.trial import is_usual
from mmconvnext.version import __version__

_STACK = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmseg")
_HEAD = """# Coverage

Configs that mmdet and mmseg ship, each with a tiny ConvNeXt of random weights put in place of its \
backbone: one training step (finite losses, gradients down to the backbone) and one prediction on \
made-up pictures, on the CPU. Configs whose models are then equal are tried once. It says that \
the parts fit together, not how well they learn.

Written by `{command}` on {day}: {versions}.

{counts}

| package | family | backbones | work / tried | why not |
| --- | --- | --- | --- | --- |
"""


def page(results: Sequence[dict[str, Any]], choice: str = "") -> str:
    """The page of ``results``, which were chosen by the options ``choice``."""
    tried = [result for result in results if result["status"] != "no model"]
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in tried:
        families.setdefault((result["package"], result["family"]), []).append(result)
    head = _HEAD.format(
        command=f"mmconvnext coverage {choice}".strip(),
        day=date.today().isoformat(),
        versions=", ".join(_versions()),
        counts=_counts(tried, len(families)),
    )
    return head + "".join(_row(*key, families[key]) for key in sorted(families))


def _counts(tried: Sequence[dict[str, Any]], families: int) -> str:
    read = [result for result in tried if result["status"] != "unreadable"]
    usual = [result for result in read if is_usual(result["backbone"])]
    folders: dict[tuple[str, str], list[bool]] = {}
    for result in usual:
        works = folders.setdefault((result["package"], result["family"]), [])
        works.append(result["status"] == "works")
    others = [result for result in read if not is_usual(result["backbone"])]
    return (
        f"{_plural(families, 'family', 'families')}, "
        f"{_plural(len(tried), 'config', 'configs')}. "
        f"With a ResNet, ResNeXt, Res2Net or Swin backbone: {_fraction(usual)} work; of the "
        f"{len(folders)} families of these, {sum(map(any, folders.values()))} have some that work "
        f"and {sum(map(all, folders.values()))} nothing but those. "
        f"With another: {_fraction(others)} work. Cannot be read: {len(tried) - len(read)}."
    )


def _row(package: str, family: str, results: Sequence[dict[str, Any]]) -> str:
    kinds = sorted({result["backbone"] for result in results if result["backbone"]})
    reasons = Counter(result["reason"] for result in results if result["reason"])
    why = "<br>".join(f"{_escaped(reason)} ({count})" for reason, count in reasons.most_common())
    cells = (package, family, ", ".join(kinds), _fraction(results), why)
    return f"| {' | '.join(cells)} |\n"


def _fraction(results: Sequence[dict[str, Any]]) -> str:
    return f"{sum(result['status'] == 'works' for result in results)} / {len(results)}"


def _escaped(text: str) -> str:
    """``text`` as Markdown shows it in a table's cell, every character as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _versions() -> Iterable[str]:
    yield f"mmconvnext {__version__}"
    distributions = packages_distributions()
    for package in _STACK:
        try:
            name = distributions.get(package, [package])[0]
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
