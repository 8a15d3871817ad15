"""Beside mmpretrain, which has a ConvNeXt of its own: a stand-in with its registry's layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mmconvnext

REGISTRY = """
from mmengine.registry import MODELS as ROOT, Registry
MODELS = Registry("model", parent=ROOT, scope="mmpretrain", locations=["mmpretrain.models"])
"""
MODELS = """
from mmengine.model import BaseModule
from .registry import MODELS

@MODELS.register_module()
class ConvNeXt(BaseModule):
    pass
"""
CHECK = """
from mmengine.registry import MODELS
from mmdet.registry import MODELS as DETECTION
import mmpretrain.models
from mmpretrain.registry import MODELS as PRETRAIN

theirs, ours = mmpretrain.models.ConvNeXt, mmconvnext.ConvNeXt
assert theirs is not ours
assert DETECTION.get("mmpretrain.ConvNeXt") is MODELS.get("mmpretrain.ConvNeXt") is theirs
assert PRETRAIN.get("ConvNeXt") is theirs
assert PRETRAIN.get("mmconvnext.ConvNeXt") is DETECTION.get("mmconvnext.ConvNeXt") is ours
assert DETECTION.get("ConvNeXt") is MODELS.get("ConvNeXt") is ours
print("each has its own")
"""


def run(folder: Path, code: str) -> str:
    sources = str(Path(mmconvnext.__file__).parents[1])
    lines = f"import sys; sys.path[:0] = [{str(folder)!r}, {sources!r}]\n{code}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


@pytest.fixture
def mmpretrain(tmp_path: Path) -> Path:
    package = tmp_path / "mmpretrain"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "registry.py").write_text(REGISTRY)
    (package / "models.py").write_text(MODELS)
    return tmp_path


@pytest.mark.parametrize(
    "order",
    ["import mmconvnext, mmpretrain.models", "import mmpretrain.models, mmconvnext"],
    ids=["ours first", "theirs first"],
)
def test_each_name_leads_to_its_own_class(mmpretrain: Path, order: str) -> None:
    assert run(mmpretrain, f"{order}\n{CHECK}") == "each has its own"


def test_a_class_that_holds_the_bare_name_already_keeps_it(tmp_path: Path) -> None:
    code = """
from mmengine.registry import MODELS
@MODELS.register_module()
class ConvNeXt: ...
import mmconvnext
assert MODELS.get("ConvNeXt") is ConvNeXt
assert MODELS.get("mmconvnext.ConvNeXt") is mmconvnext.ConvNeXt is not ConvNeXt
print("kept")
"""
    assert run(tmp_path, code) == "kept"
