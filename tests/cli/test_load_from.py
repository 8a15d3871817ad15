"""What train and test start from: whole models, backbones, averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sample_checkpoints import assert_same, foreign, randomised
from torch import Tensor

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.cli.main import main

TINY = {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}
TIMM = next(known for known in FORMATS if known.name == "timm")
STILL = "optim_wrapper = dict(optimizer=dict(lr=0.0))\n"  # weights stay as they were loaded


@pytest.fixture
def command(tiny_config, shapes, tmp_path) -> Callable[..., int]:
    """Runs train or test on the tiny config of segmentation."""

    def run(name: str, *options: object, extra: str = "") -> int:
        config = str(tiny_config("segmentation", extra))
        where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / "work")]
        return main([name, config, *map(str, options), *where])

    return run


@pytest.fixture
def started(command, tmp_path) -> Callable[..., dict[str, Tensor]]:
    """The weights from which a run starts."""

    def run(*options: object, extra: str = "") -> dict[str, Tensor]:
        assert command("train", "--max-iters", "1", *options, extra=STILL + extra) == 0
        content = torch.load(tmp_path / "work" / "iter_1.pth", weights_only=True)
        return content["state_dict"]

    return run


def but_norms(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith("norm")}


def backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    return but_norms(own)


@pytest.fixture
def timms(tmp_path) -> tuple[Path, dict[str, Tensor]]:
    """A file of timm's, with averaged weights as its training saves them, and what is in it."""
    weights = [randomised(ConvNeXt(TINY), seed).state_dict() for seed in (3, 4)]
    trained, mean = (foreign(own, TIMM) for own in weights)
    file = tmp_path / "timm.pth"
    torch.save({"state_dict": trained, "state_dict_ema": mean}, file)
    return file, {"trained": but_norms(weights[0]), "mean": but_norms(weights[1])}


def test_training_starts_from_a_backbones_file(started, timms):
    file, expected = timms
    option = ("--cfg-options", f"load_from={file}")
    assert_same(backbone(started(*option)), expected["trained"])
    assert_same(backbone(started(*option, "--ema")), expected["mean"])


def test_an_ema_hook_starts_from_it_as_well(started, timms, tmp_path):
    file, expected = timms
    hook = "custom_hooks = [dict(type='EMAHook')]\n"
    found = started("--cfg-options", f"load_from={file}", extra=hook)
    assert_same(backbone(found), expected["trained"])  # mmengine saves the averaged in front


def test_averaged_weights_are_tested(command, started, tmp_path, capsys):
    weights = started()
    other = {key: value * 0 for key, value in weights.items()}
    file = tmp_path / "both.pth"
    torch.save({"state_dict": other, "model_ema": weights}, file)
    figures = []
    for options in ((tmp_path / "work" / "iter_1.pth",), (file, "--ema"), (file,)):
        capsys.readouterr()
        assert command("test", *options) == 0
        figures.append(
            [
                line
                for line in capsys.readouterr().out.splitlines()
                if "mIoU" in line and "│" in line
            ]
        )
    assert figures[0] == figures[1] != figures[2]


def refused(command: Callable[..., int], capsys: pytest.CaptureFixture[str], *options) -> str:
    assert command(*options) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and not out
    return err


def test_what_cannot_be_started_from_is_refused(command, timms, tmp_path, capsys):
    file, _ = timms
    plain = tmp_path / "plain.pth"
    torch.save(foreign(randomised(ConvNeXt(TINY)).state_dict(), TIMM), plain)
    line = refused(command, capsys, "test", file)
    assert "of another architecture than EncoderDecoder" in line and "missing from it" in line
    line = refused(command, capsys, "train", "--ema")
    assert "--ema is for the weights to start from: set load_from, without --resume" in line
    option = ("--cfg-options", f"load_from={plain}")
    line = refused(command, capsys, "train", *option, "--ema")
    assert f"checkpoint {plain}: expected averaged weights under model_ema or " in line
    line = refused(command, capsys, "train", *option, "model.backbone.use_grn=True")
    assert "expected V2 with depths 1-1-1-1 and channels 8-16-32-64, found V1 with " in line
    assert not (tmp_path / "work").exists()


def test_initial_weights_of_another_network_are_refused_before_anything_is_written(
    command, tmp_path, capsys
):
    file = tmp_path / "deeper.pth"
    torch.save(randomised(ConvNeXt(TINY | {"depths": [2, 1, 1, 1]})).state_dict(), file)
    init = f"init_cfg=dict(type='Pretrained', checkpoint={str(file)!r})"
    assert command("train", extra=f"model = dict(backbone=dict({init}))") == 2
    line = capsys.readouterr().err
    assert "expected V1 with depths 1-1-1-1 and channels 8-16-32-64, found V1 with " in line
    assert not (tmp_path / "work").exists()
