"""``--backbone`` of train and test, and ``adapt``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.cli.main import main
from mmconvnext.cli.overrides import set_data_root
from mmconvnext.compat.config_root import config_root

ON_CPU = {"CUDA_VISIBLE_DEVICES": ""}

RESNET = """
model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, norm_eval=True, frozen_stages=1,
                  init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
"""
FASTER_RCNN = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"


@pytest.fixture
def resnet(tiny_config) -> str:
    """The tiny detector, with a ResNet."""
    return str(tiny_config("detection", RESNET))


def test_train_and_test_with_another_backbone(resnet, shapes, tmp_path, capsys):
    where = ["--data-root", str(shapes["detection"]), "--work-dir", str(tmp_path / "work")]
    name = ["--backbone", "convnextv2_atto"]
    changed = "model.backbone.drop_path_rate=0.0"  # a setting that only the adapted config has
    options = ["--weights", "none", "--max-iters", "1", "--cfg-options", changed]
    assert main(["train", resnet, *where, *name, *options]) == 0
    out = capsys.readouterr().out
    assert "mmconvnext: model.backbone: ResNet -> ConvNeXt(arch=atto, " in out
    assert "mmconvnext: model.neck.in_channels: [64, 128, 256, 512] -> [40, 80, 160, 320]" in out
    weights = torch.load(tmp_path / "work" / "iter_1.pth", weights_only=True)["state_dict"]
    assert weights["backbone.stages.3.1.grn.gamma"].numel() == 4 * 320
    written = Config.fromfile(tmp_path / "work" / "tiny.py")
    assert written.model.backbone.drop_path_rate == 0.0
    checkpoint = str(tmp_path / "work" / "iter_1.pth")
    assert main(["test", resnet, checkpoint, *where, *name]) == 0
    assert main(["test", str(tmp_path / "work" / "tiny.py"), checkpoint, *where]) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and not out
    return err


def test_bad_input(resnet, tmp_path, capsys):
    line = refused(capsys, "train", resnet, "--backbone", "resnet50")
    assert "unknown backbone 'resnet50'; " in line
    line = refused(capsys, "train", resnet, "--weights", "x.pth")
    assert "--weights and --keep-optimizer go with --backbone" in line
    line = refused(
        capsys, "adapt", resnet, "--backbone", "convnext_tiny", "--cfg-options", "model.nick.x=1"
    )
    assert "model has no 'nick'" in line
    for out, reason in ((tmp_path / "x.txt", "a config is a .py file"), (Path(resnet), "exists")):
        line = refused(capsys, "adapt", resnet, "--backbone", "convnext_tiny", "-o", str(out))
        assert reason in line
    c4 = "mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py"
    out = tmp_path / "c4.py"
    line = refused(capsys, "adapt", c4, "--backbone", "convnext_tiny", "-o", str(out))
    assert "use the method's config with an FPN" in line and not out.exists()


def test_mmdets_own_tool_trains_the_written_config(resnet, shapes, tmp_path):
    out = tmp_path / "adapted.py"
    options = ["--weights", "none", "--backbone", "convnext_atto", "-o", str(out)]
    one_step = "train_cfg.max_epochs=1 optim_wrapper.type=OptimWrapper"
    assert main(["adapt", resnet, *options, "--cfg-options", *one_step.split()]) == 0
    cfg = Config.fromfile(out)
    del cfg.optim_wrapper["loss_scale"]
    set_data_root(cfg, str(shapes["detection"]))
    plain_batch_norm(cfg.model)
    cfg.dump(out)
    tool = config_root("mmdet").parent / "tools" / "train.py"
    work = tmp_path / "work"
    command = [sys.executable, str(tool), str(out), "--work-dir", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ON_CPU)
    assert done.returncode == 0, done.stderr[-2000:]
    weights = torch.load(work / "epoch_1.pth", weights_only=False)["state_dict"]
    assert weights["backbone.stages.2.5.gamma"].shape == (160,)


def test_adapt_writes_a_config(tmp_path, capsys):
    out = tmp_path / "folder" / "mine.py"
    assert main(["adapt", FASTER_RCNN, "--backbone", "dinov3_convnext_s", "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("from dinov3_convnext_small, licence DINOv3 License)")
    assert lines[-1] == f"written: {out}"
    cfg = Config.fromfile(out)
    assert cfg.model.backbone.type == "mmconvnext.ConvNeXt"
    assert [p.name for p in out.parent.iterdir()] == ["mine.py"]
