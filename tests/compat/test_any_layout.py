"""mmengine's own ways of loading a model's weights, once mmconvnext is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import checkpoint as mmengines
from sample_checkpoints import assert_same, error_of, foreign, randomised

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.compat import any_layout

CONFIGS = Path(__file__).parents[1] / "cli" / "configs"
TINY = {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}
TIMM = next(known for known in FORMATS if known.name == "timm")


def init_detector(file: Path) -> torch.nn.Module:
    from mmdet.apis import init_detector

    return init_detector(Config.fromfile(CONFIGS / "tiny_detection.py"), str(file), device="cpu")


def init_model(file: Path) -> torch.nn.Module:
    from mmseg.apis import init_model

    return init_model(Config.fromfile(CONFIGS / "tiny_segmentation.py"), str(file), device="cpu")


@pytest.mark.parametrize("build", [init_detector, init_model])
def test_a_backbones_file_is_loaded(build, tmp_path):
    file, source = tmp_path / "timm.pth", randomised(ConvNeXt(TINY), 3)
    torch.save(foreign(source.state_dict(), TIMM), file)
    found = build(file).backbone.state_dict()
    expected = {k: v for k, v in source.state_dict().items() if not k.startswith("norm")}
    assert_same({key: found[key] for key in expected}, expected)


@pytest.mark.parametrize("build", [init_detector, init_model])
def test_another_networks_file_is_an_error(build, tmp_path):
    file = tmp_path / "resnet.pth"
    torch.save({"backbone.layer1.0.conv1.weight": torch.ones(1)}, file)
    assert f"checkpoint {file}: none of its keys is " in error_of(build, file)


@pytest.mark.parametrize("place", ["state_dict", None])
def test_what_has_no_name_among_the_weights_is_left_out(place, tmp_path):
    linear = torch.nn.Linear(2, 2)
    weights = linear.state_dict() | {0: torch.ones(1)}
    torch.save({place: weights} if place else weights, tmp_path / "file.pth")
    other = torch.nn.Linear(2, 2)
    mmengines.load_checkpoint(other, str(tmp_path / "file.pth"), strict=True)
    assert_same(other.state_dict(), linear.state_dict())


def test_the_change_is_made_once():
    changed = mmengines.load_state_dict
    any_layout.load_by(mmengines, lambda *args: True)
    assert mmengines.load_state_dict is changed


@pytest.mark.parametrize("first", ["mmengine.runner", "mmconvnext"])
def test_whatever_is_imported_first(first):
    code = (
        f"import {first}, mmconvnext, mmengine.runner, mmengine.runner.checkpoint as c\n"
        "print(c.load_state_dict is mmengine.runner.load_state_dict, "
        "c.load_state_dict.__wrapped__.__module__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "mmengine.runner.checkpoint"]
