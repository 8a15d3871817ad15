from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext.cli import device, overrides
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.main import main
from mmconvnext.cli.schedule import set_max_iters

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(tiny_config, shapes, tmp_path):
    """Trains the tiny config of a task in tmp_path/work and returns that folder."""

    def run(task: str, *options: str, extra: str = "") -> Path:
        work = tmp_path / "work"
        status = main(
            [
                "train",
                str(tiny_config(task, extra)),
                "--data-root",
                str(shapes[task]),
                "--work-dir",
                str(work),
                "--seed",
                "3",
                *options,
            ]
        )
        assert status == 0
        return work

    return run


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=False)["state_dict"]


def test_trains_the_given_iterations_saves_validates_and_resumes(train, task, capsys):
    work = train(task, "--max-iters", "2")
    said = capsys.readouterr().out
    assert (
        said.count("running on the CPU: fp32 instead of AMP, plain BatchNorm instead of SyncBN")
        == 1
    )
    assert "mIoU" in said or "bbox_mAP" in said
    assert [p.name for p in work.glob("*.pth")] == ["iter_2.pth"]
    first = torch.load(work / "iter_2.pth", weights_only=False)
    assert first["meta"]["iter"] == 2 and first["meta"]["seed"] == 3
    assert all(torch.isfinite(value).all() for value in first["state_dict"].values())

    train(task, "--max-iters", "4", "--resume")
    assert "resumed epoch: 0, iter: 2" in capsys.readouterr().out
    assert torch.load(work / "iter_4.pth", weights_only=False)["meta"]["iter"] == 4
    assert torch.equal(
        weights(work / "iter_2.pth")["backbone.norm3.weight"],
        first["state_dict"]["backbone.norm3.weight"],
    )


def test_same_seed_gives_the_same_weights(train, tmp_path):
    first = weights(train("segmentation", "--max-iters", "1") / "iter_1.pth")
    second = weights(train("segmentation", "--max-iters", "1") / "iter_1.pth")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_amp_on_a_cpu_is_left_out(train, capsys):
    train(
        "segmentation",
        "--max-iters",
        "1",
        "--amp",
        "--device",
        "cpu",
        extra="optim_wrapper = dict(type='OptimWrapper', loss_scale=None)",
    )
    assert "fp32 instead of AMP" in capsys.readouterr().out


def test_an_earlier_runs_config_is_kept_aside(train):
    work = train("segmentation", "--max-iters", "1")
    (work / "tiny.py").write_text("mine = 1\n")
    train("segmentation", "--max-iters", "1")
    assert "mine = 1\n" in [p.read_text() for p in work.glob("tiny_*.py")]


def test_help_of_the_tool_lists_the_options_without_waiting_for_pytorch():
    command = [sys.executable, "-X", "importtime", "tools/train.py", "-h"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "argparse" in done.stderr  # the list of what was imported
    assert not {"torch", "mmengine", "numpy"} & set(done.stderr.replace("|", " ").split())
    for option in [
        "--work-dir",
        "--resume",
        "--amp",
        "--cfg-options",
        "--launcher",
        "--auto-scale-lr",
        "--data-root",
        "--seed",
        "--device",
        "--max-iters",
    ]:
        assert option in done.stdout


def epochs_config(**train_cfg) -> Config:
    return Config(
        dict(
            train_cfg=train_cfg or dict(type="EpochBasedTrainLoop", max_epochs=36, val_interval=1),
            train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=501),
                dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33]),
            ],
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=50),
                checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
            ),
            log_processor=dict(type="LogProcessor", window_size=50, by_epoch=True),
        )
    )


def test_max_iters_scales_an_epoch_schedule_and_keeps_its_warm_up():
    cfg = epochs_config()
    set_max_iters(cfg, 3600)
    warm_up, steps = cfg.param_scheduler
    assert cfg.train_cfg == dict(type="IterBasedTrainLoop", max_iters=3600, val_interval=3600)
    assert (warm_up.begin, warm_up.end) == (0, 501)
    assert steps.by_epoch is False and steps.end == 3600 and steps.milestones == [2700, 3300]
    assert cfg.train_dataloader.sampler == dict(type="InfiniteSampler", shuffle=True)
    hooks = cfg.default_hooks
    assert hooks.checkpoint.by_epoch is False and hooks.checkpoint.interval == 1000
    assert hooks.checkpoint.max_keep_ckpts == 3
    assert hooks.logger.interval == 50 and cfg.log_processor.by_epoch is False


def test_max_iters_ten_logs_at_each_iteration():
    cfg = epochs_config()
    set_max_iters(cfg, 10)
    assert cfg.default_hooks.logger.interval == 1
    assert cfg.default_hooks.checkpoint.interval == 10


def test_max_iters_moves_the_end_of_an_iteration_schedule():
    cfg = epochs_config(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)
    cfg.param_scheduler = [
        dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1501),
        dict(type="PolyLR", power=1.0, by_epoch=False, begin=0, end=160001),
        dict(type="CosineAnnealingLR", T_max=80000, by_epoch=False, begin=1500, end=160000),
    ]
    set_max_iters(cfg, 1000)
    assert cfg.train_cfg.val_interval == 1000
    # The last would begin after the last iteration.
    assert [s.type for s in cfg.param_scheduler] == ["LinearLR", "PolyLR"]
    assert [s.end for s in cfg.param_scheduler] == [1501, 1001]


def test_data_root_moves_nested_datasets_and_evaluators():
    inner = dict(type="CocoDataset", data_root="data/coco/", ann_file="annotations/a.json")
    cfg = Config(
        dict(
            data_root="data/coco/",
            train_dataloader=dict(
                dataset=dict(
                    type="RepeatDataset",
                    dataset=dict(type="ConcatDataset", datasets=[inner, dict(inner)]),
                )
            ),
            val_dataloader=dict(
                dataset=dict(type="CocoDataset", ann_file="data/coco/annotations/b.json")
            ),
            val_evaluator=[dict(type="CocoMetric", ann_file="data/coco/annotations/b.json")],
            test_evaluator=dict(type="CocoMetric", ann_file="data/coconut/annotations/b.json"),
        )
    )
    overrides.set_data_root(cfg, "/elsewhere")
    first, second = cfg.train_dataloader.dataset.dataset.datasets
    assert first.data_root == second.data_root == "/elsewhere"
    assert first.ann_file == "annotations/a.json"
    assert cfg.val_dataloader.dataset.ann_file == "/elsewhere/annotations/b.json"
    assert cfg.val_evaluator[0].ann_file == "/elsewhere/annotations/b.json"
    assert cfg.test_evaluator.ann_file == "data/coconut/annotations/b.json"


def test_one_gpu_gets_plain_batch_norm_but_keeps_amp():
    cfg = Config(
        dict(
            launcher="none",
            optim_wrapper=dict(type="AmpOptimWrapper", loss_scale="dynamic"),
            model=dict(heads=[dict(norm_cfg=dict(type="SyncBN", requires_grad=True))]),
        )
    )
    line = device.fit_to_device(cfg, "cuda")
    assert line == "running on a single device: plain BatchNorm instead of SyncBN"
    assert cfg.model.heads[0].norm_cfg == dict(type="BN", requires_grad=True)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"


def test_several_gpus_keep_the_recipe():
    cfg = Config(dict(launcher="pytorch", model=dict(norm_cfg=dict(type="SyncBN"))))
    assert device.fit_to_device(cfg, "cuda") == ""
    assert cfg.model.norm_cfg.type == "SyncBN"


def test_cpu_is_used_though_a_gpu_is_there(monkeypatch):
    from mmengine.device import get_device, is_cuda_available

    monkeypatch.setattr("mmengine.device.utils.DEVICE", "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device.pick_device("auto", "none") == "cuda"
    with device.running_on("cpu", Config(dict(launcher="none"))):
        assert get_device() == "cpu" and not is_cuda_available()
    assert get_device() == "cuda"


@pytest.mark.parametrize(
    ("wanted", "launcher", "said"),
    [
        ("gpu", "none", "--device takes auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("cuda:7", "none", "GPUs here are 0 to 1"),
        ("cuda:1", "pytorch", "gives each process its own GPU"),
    ],
)
def test_impossible_devices_are_refused(monkeypatch, wanted, launcher, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UsageError, match=said):
        device.pick_device(wanted, launcher)
