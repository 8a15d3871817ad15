"""Pretraining by the commands, on class folders; from its checkpoint a detector starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.registry import HOOKS
from PIL import Image
from test_exact_resume import BreakOff, assert_same, history

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.cli.main import main
from mmconvnext.compat.config_root import config_root
from mmconvnext.data import ShapesSpec, make_class_shapes

ARCH = {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}
# The recipe with a small network and small pictures: two iterations an epoch.
TINY = f"""
_base_ = {str(config_root() / "pretrain" / "convnext_t_in1k.py")!r}
model = dict(backbone=dict(_delete_=True, type="mmconvnext.ConvNeXt", arch={ARCH}, out_indices=3,
                           gap_before_final_norm=True, drop_path_rate=0.5),
             in_channels=64, num_classes=3)
pipeline = _base_.train_pipeline
pipeline[1]["transforms"][0]["size"] = 32
few = dict(batch_size=6, num_workers=2)
train_dataloader = dict(dataset=dict(pipeline=pipeline), **few)
val_dataloader = test_dataloader = dict(**few)
train_cfg = dict(max_epochs=3)
param_scheduler = [_base_.param_scheduler[0] | dict(end=1),
                   _base_.param_scheduler[1] | dict(begin=1, end=3)]
default_hooks = dict(logger=dict(interval=1),
                     checkpoint=dict(by_epoch=False, max_keep_ckpts=-1))
custom_hooks = [_base_.custom_hooks[0] | dict(momentum=0.1), dict(type="BreakOff")]
"""


@pytest.fixture(autouse=True)
def registered():
    HOOKS.register_module(module=BreakOff)
    yield
    BreakOff.after = None
    del HOOKS.module_dict["BreakOff"]


@pytest.fixture
def classes(tmp_path) -> Path:
    make_class_shapes(tmp_path / "classes", ShapesSpec(train=12, val=9, size=48))
    return tmp_path / "classes"


@pytest.fixture
def train(classes, tmp_path) -> Callable[..., int]:
    (tmp_path / "tiny.py").write_text(TINY)

    def run(work: str, *options: str, after: int | None = None) -> int:
        BreakOff.after = after
        command = ["train", str(tmp_path / "tiny.py"), "--data-root", str(classes), "--plain"]
        command += ["--work-dir", str(tmp_path / work), "--device", "cpu", "--seed", "0"]
        return main([*command, *options])

    return run


@pytest.mark.slow
def test_train_resume_test_and_a_detector_from_the_checkpoint(
    train, tmp_path, classes, capsys, tiny_config, shapes
):
    assert train("whole") == 0
    assert train("broken", after=3) == 1  # in the middle of an epoch
    assert train("broken", "--resume") == 0
    whole, broken = (
        torch.load(tmp_path / work / "iter_6.pth", weights_only=False)
        for work in ("whole", "broken")
    )
    assert_same(whole, broken)
    assert len(history(whole)["train/loss"]) == 6

    path = str(tmp_path / "whole" / "iter_6.pth")
    capsys.readouterr()
    assert main(["test", str(tmp_path / "tiny.py"), path, "--data-root", str(classes),
                 "--work-dir", str(tmp_path / "tested"), "--device", "cpu", "--plain",
                 "--out", str(tmp_path / "found.pkl")]) == 0  # fmt: skip
    assert "accuracy/top1" in capsys.readouterr().out
    (found,) = (tmp_path / "tested").glob("*/*.json")
    (scalars,) = (tmp_path / "whole").glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    *_, last = (line["accuracy/top1"] for line in lines if "accuracy/top1" in line)
    assert json.loads(found.read_text())["accuracy/top1"] == pytest.approx(last)

    config = tiny_config("detection", f"model = dict(backbone=dict(arch={ARCH}))\n", "det.py")
    assert main(["train", str(config), "--data-root", str(shapes["detection"]), "--max-iters", "1",
                 "--work-dir", str(tmp_path / "detector"), "--device", "cpu", "--plain",
                 "--cfg-options", "model.backbone.init_cfg.type=Pretrained",
                 f"model.backbone.init_cfg.checkpoint={path}"]) == 0  # fmt: skip
    (log,) = (tmp_path / "detector").glob("*/*.log")
    assert f"from {path} (" in log.read_text()
    assert_backbone_is(whole["state_dict"], path)


def assert_backbone_is(weights: dict[str, torch.Tensor], path: str) -> None:
    backbone = ConvNeXt(arch=ARCH)
    report = load_pretrained_backbone(backbone, path)
    fresh = {f"norm{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    assert set(report.afresh) == fresh
    for name, value in backbone.state_dict().items():
        if name not in fresh:
            assert torch.equal(value, weights[f"backbone.{name}"]), name
    assert [key for keys in report.dropped.values() for key in keys] == ["head.weight", "head.bias"]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "Traceback" not in error
    return error


def remove_data(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def remove_split(root: Path) -> None:
    (root / "val").rename(root / "test")


def empty_a_class(root: Path) -> None:
    for picture in (root / "train" / "square").iterdir():
        picture.unlink()


def remove_all_classes(root: Path) -> None:
    (root / "train").rename(root / "old")
    (root / "train").mkdir()


def add_a_class(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "star").mkdir()
        Image.new("RGB", (48, 48)).save(root / part / "star" / "0.png")


def rename_a_class(root: Path) -> None:
    (root / "val" / "circle").rename(root / "val" / "disc")


def break_a_header(root: Path) -> None:
    (root / "train" / "circle" / "000000.png").write_bytes(b"not a picture")


def cut_a_picture(root: Path) -> None:
    path = root / "val" / "circle" / "000000.png"
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove_data, ["train_dataloader: data folder", "classes does not exist", "--data-root"]),
        (remove_split, ["val_dataloader: folder of classes", "val does not exist", "data_prefix"]),
        (empty_a_class, ["train: 1 of 3 class folders have no pictures", "square; remove or fill"]),
        (remove_all_classes, ["train has no folders, so there are no classes"]),
        (add_a_class, ["model.num_classes=3", "has 4 classes", "set num_classes=4"]),
        (rename_a_class, ["classes disagree", "train has the folder circle", "val has not"]),
        (break_a_header, ["train/circle/000000.png", "--on-bad-data skip"]),
        (cut_a_picture, ["val/circle/000000.png", "is cut off", "--on-bad-data skip"]),
    ],
)
def test_what_is_wrong_with_the_data_is_one_line_before_anything_is_written(
    damage, said, train, classes, tmp_path, capsys
):
    damage(classes)
    assert train("work") == 2
    error = error_of(capsys)
    for part in said:
        assert part in error
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_bad_pictures_are_left_out_if_asked_for(train, classes, tmp_path, capsys):
    break_a_header(classes)
    assert train("work", "--on-bad-data", "skip", "--max-iters", "1") == 0
    assert "trains on 11 of 12 pictures" in capsys.readouterr().out
    listed = next((tmp_path / "work" / "data_left_out").glob("*_0.txt")).read_text().splitlines()
    assert len(listed) == 11 and "circle/000000.png" not in listed
