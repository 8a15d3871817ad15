"""Who may import whom (read off the source), and what importing the package brings along."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mmconvnext

PACKAGE = Path(mmconvnext.__file__).parent
NETWORK_FREE_OF_HOSTS = ("backbones", "optim", "checkpoints", "compat")
MIDDLE = (
    "adapt",
    "classification",
    "data",
    "doctor",
    "evaluation",
    "export",
    "heads",
    "hooks",
    "inference",
    "loops",
    "strategies",
    "visualization",
)


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports in this package are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts() -> dict[str, set[str]]:
    """What each part of the package imports of mmdet, mmseg and the other parts."""
    table: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports_of(file):
            top, _, rest = name.partition(".")
            if top in ("mmdet", "mmseg"):
                table.setdefault(part, set()).add(top)
            elif top == "mmconvnext" and rest:
                table.setdefault(part, set()).add(rest.partition(".")[0])
    return table


def test_network_parts_know_neither_mmdet_nor_mmseg_nor_each_other() -> None:
    table = parts()
    for part in NETWORK_FREE_OF_HOSTS:
        foreign = table.get(part, set()) - {part, "registry", "version"}
        if part == "backbones":
            foreign -= {"checkpoints"}
        assert not foreign, f"{part} imports {sorted(foreign)}"


def test_nothing_but_the_commands_uses_cli() -> None:
    users = {part for part, used in parts().items() if "cli" in used}
    assert users <= {"cli"}


def test_middle_parts_use_only_what_is_below_them() -> None:
    table = parts()
    allowed = {*NETWORK_FREE_OF_HOSTS, *MIDDLE, "registry", "version", "mmdet", "mmseg"}
    for part in MIDDLE:
        assert table.get(part, set()) <= allowed, part


def test_classification_knows_neither_mmdet_nor_mmseg() -> None:
    assert parts()["classification"] <= {"classification", "data", "registry"}


def test_importing_the_package_brings_in_nothing_that_takes_long() -> None:
    code = (
        "import sys, mmconvnext; "
        "print([m for m in ('mmcv', 'mmdet', 'mmseg', 'torchvision', 'matplotlib', "
        "'mmengine.model', 'mmengine.optim') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_importing_twice_registers_nothing_twice() -> None:
    code = "import importlib, mmconvnext; importlib.reload(mmconvnext); print('fine')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "fine", answer.stderr
