from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from mmconvnext.cli import lr, running
from mmconvnext.cli.main import main

CASCADE = "mmconvnext::detection/cascade_convnext_t_coco.py"
UPERNET = "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py"
DECAY = """
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=0.5),
    _delete_=True,
)
"""
EPOCHS = """
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3, _delete_=True)
val_cfg = val_dataloader = val_evaluator = None
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=3),
    dict(type="MultiStepLR", by_epoch=True, milestones=[1, 2], gamma=0.1),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=None)
"""
ITERATIONS = """
train_cfg = dict(type="IterBasedTrainLoop", max_iters=6, _delete_=True)
val_cfg = val_dataloader = val_evaluator = None
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False, begin=2, end=6),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=None)
log_processor = dict(by_epoch=False)
"""


class Recorder(Hook):
    """Notes the rate of every parameter group with which an iteration is trained."""

    rows: list

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        wrapper = runner.optim_wrapper
        groups = wrapper.optimizer.param_groups
        self.rows.append({group["group_name"]: group["lr"] for group in groups})


@pytest.mark.parametrize("lines", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_the_rates_are_those_of_a_real_training(
    shapes, tiny_config, tmp_path, monkeypatch, capsys, lines
) -> None:
    pytest.importorskip("mmdet")
    config = tiny_config("detection", DECAY + lines)
    root = ["--data-root", str(shapes["detection"])]
    Recorder.rows = []
    build = running.build_runner

    def build_recorded(cfg: Config, plain: bool):
        runner = build(cfg, plain)
        runner.register_hook(Recorder())
        return runner

    monkeypatch.setattr(running, "build_runner", build_recorded)
    work = tmp_path / "work"
    assert main(["train", str(config), *root, "--work-dir", str(work), "--device", "cpu"]) == 0
    out = tmp_path / "rates.csv"
    assert main(["lr", str(config), *root, "--csv", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 7))
    for row, trained in zip(rows, Recorder.rows, strict=True):
        assert {name: float(row[name]) for name in trained} == pytest.approx(trained, rel=1e-12)
        assert set(row) == {"epoch", "iteration", *trained}
    (log,) = work.glob("*/vis_data/scalars.json")
    logged = [json.loads(line)["lr"] for line in log.read_text().splitlines()]
    first = next(iter(Recorder.rows[0]))  # mmengine logs the first group's
    assert [float(row[first]) for row in rows] == pytest.approx(logged, rel=1e-6)


def test_table_and_picture_of_a_recipe(tmp_path, capsys) -> None:
    pytest.importorskip("mmdet")
    picture = tmp_path / "new" / "rates.svg"
    assert main(["lr", CASCADE, "--epoch-length", "100", "-o", str(picture)]) == 0
    out = capsys.readouterr().out
    cells = [[cell.strip() for cell in row.split("│")] for row in out.splitlines()]
    rows = [row[1:-1] for row in cells if len(row) > 3 and row[1].isdigit()]
    assert rows[0] == [
        "0", "backbone.downsample_layers.0", "0.05", f"{0.7**7:.4g}",
        f"{0.7**7 * 2e-7:.3e}", f"{0.7**7 * 2e-4:.3e}", f"{0.7**7 * 2e-4:.3e}",
        f"{0.7**7 * 2e-6:.3e}",
    ]  # fmt: skip
    assert rows[-1][:4] == ["7", "backbone.norm0-3, neck,", "0", "1"]
    assert "3,600 iterations, 36 epochs of 100; first: iteration 1; highest: iteration 501;" in out
    assert "<svg" in picture.read_text()
    assert not [p for p in picture.parent.iterdir() if p != picture]


def test_another_backbone_and_a_shorter_schedule(capsys, tmp_path) -> None:
    pytest.importorskip("mmseg")
    options = ["--backbone", "convnext_small", "--max-iters", "2000"]
    assert main(["lr", UPERNET, *options]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "backbone.stages.2 blocks 0-26" in out
    # Warm-up of 1,500 iterations times a line down to 0 at 2,000: highest where the line begins to
    # take more than the warm-up gives.
    assert "2,000 iterations; first: iteration 1; highest: iteration 1,001" in out


def test_any_constructor_has_rates(capsys) -> None:
    pytest.importorskip("mmdet")
    config = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"
    assert main(["lr", config, "--epoch-length", "10"]) == 0
    out = capsys.readouterr().out
    assert "backbone.layer2-4" in " ".join(out.split())
    assert "│   0.1 │ 1.000e-05 │" in out


def test_names_are_told_shortly() -> None:
    names = ["backbone.stages.2.0.gamma", "backbone.stages.2.2.gamma", "backbone.norm0.weight"]
    names += ["backbone.stages.3.1.norm.bias", "backbone.downsample_layers.1.0.weight"]
    names += ["neck.fpn_convs.0.conv.bias", "neck.lateral_convs.1.conv.bias"]
    assert lr.parts_of(names) == [
        "backbone.stages.2 blocks 0-2",
        "backbone.norm0",
        "backbone.stages.3 blocks 1",
        "backbone.downsample_layers.1",
        "neck",
    ]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([UPERNET, "-o", "rates.jpg"], "-o rates.jpg: a picture is one of .png, .svg, .pdf"),
        ([CASCADE], "or give --epoch-length N, without the data"),
        ([CASCADE, "--epoch-length", "0"], "must be at least 1"),
        (["mmconvnext::_base_/runtime.py"], "no train_cfg with a length: it trains nothing"),
        ([UPERNET, "--cfg-options", "param_scheduler.0.type=NoLR"], "no scheduler type 'NoLR'"),
        (
            [UPERNET, "--cfg-options", "optim_wrapper.paramwise_cfg.decay_rate=2"],
            "paramwise_cfg.decay_rate: expected a number in (0, 1], found 2",
        ),
        (["nowhere.py"], "config not found: nowhere.py"),
    ],
)
def test_bad_input(argv, line, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lr", *argv]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
    assert not list(Path().iterdir())
