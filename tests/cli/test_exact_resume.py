"""A training that is broken off and resumed ends with the weights of one that never was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmconvnext.cli.main import main

ITERATIONS = 8
# Random numbers wherever a recipe has them: drop path, the pictures' augmentation, and in the
# detector RoIs. Saved in the middle of epochs; the best so far is kept.
RANDOM = """
model = dict(backbone=dict(drop_path_rate=0.5, layer_scale_init_value=1.0))
optim_wrapper = dict(_delete_=True, type="{wrapper}", optimizer=dict(type="AdamW", lr=1e-2),
                     accumulative_counts={accumulated})
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=1),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval={interval},
                    save_best="auto", rule="greater"),
)
custom_hooks = [dict(type="EMAHook", momentum=0.1), dict(type="BreakOff"),
                dict(type="Drawing")]
train_dataloader = dict(num_workers={workers}, persistent_workers={workers} > 0)
"""
SETTINGS = {"workers": 0, "interval": 1, "accumulated": 1, "wrapper": "OptimWrapper"}
PIPELINES = {
    "detection": """
from_base = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
train_dataloader["dataset"] = dict(dataset=dict(pipeline=[
    *from_base, dict(type="RandomResize", scale=[(48, 48), (80, 80)]),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape")),
]))
""",
    "segmentation": """
train_dataloader["dataset"] = dict(pipeline=[
    dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomFlip", prob=0.5), dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
])
""",
}
# Epochs are of two iterations.
LOOPS = {
    "epochs": f"train_cfg = dict(_delete_=True, by_epoch=True, max_epochs={ITERATIONS // 2})\n"
    "train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=True)\n",
    "iterations": "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', "
    f"max_iters={ITERATIONS}, val_interval=4)\n",
}


class BreakOff(Hook):
    """Ends a training in the middle: after an iteration, or during a validation after one."""

    priority = "LOWEST"  # what is saved then is saved
    after: int | None = None
    validating: int | None = None

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        if runner.iter + 1 == self.after:
            raise RuntimeError("broken off")

    def before_val_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        if runner.iter == self.validating:
            raise RuntimeError("broken off")


class Drawing(Hook):
    """Draws random numbers, as some hooks do."""

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        torch.rand(())

    def before_val_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        torch.rand(())


class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's, which asks for a GPU, with PyTorch's scaler for CPUs."""

    def __init__(self, **settings: Any) -> None:
        OptimWrapper.__init__(self, **settings)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        self.cast_dtype = torch.bfloat16


@pytest.fixture(autouse=True)
def registered():
    OPTIM_WRAPPERS.register_module(module=CpuAmpOptimWrapper)
    for hook in (BreakOff, Drawing):
        HOOKS.register_module(module=hook)
    yield
    BreakOff.after = BreakOff.validating = None
    del OPTIM_WRAPPERS.module_dict["CpuAmpOptimWrapper"]
    for hook in (BreakOff, Drawing):
        del HOOKS.module_dict[hook.__name__]


@pytest.fixture
def trained(tiny_config, shapes, tmp_path) -> Callable[..., dict[str, Any]]:
    """Trains to the end, broken off where it is said, and resumed; returns the last checkpoint."""

    def train(
        name: str,
        task: str,
        loop: str,
        breaks=(),
        seed: str | None = "0",
        lines="",
        **settings: Any,
    ) -> dict[str, Any]:
        extra = RANDOM.format(**{**SETTINGS, **settings}) + lines
        config = tiny_config(task, extra + PIPELINES[task] + LOOPS[loop])
        work = tmp_path / name
        command = ["train", str(config), "--data-root", str(shapes[task]), "--device", "cpu"]
        command += ["--work-dir", str(work), "--plain", *(("--seed", seed) if seed else ())]
        resume: list[str] = []
        for kind, iteration in breaks:
            setattr(BreakOff, kind, iteration)
            assert main([*command, *resume]) == 1
            setattr(BreakOff, kind, None)
            resume = ["--resume"]
        assert main([*command, *resume]) == 0
        return torch.load(work / f"iter_{ITERATIONS}.pth", weights_only=False)

    return train


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every number of nested containers, by its path."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{name}/{i}").items()}
    return {name: value}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Weights, averages, optimizer, schedule and generators, bit for bit, and the history."""
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "exact_state"):
        ones, others = flat(one[key]), flat(other[key])
        assert ones.keys() == others.keys()
        for name, value in ones.items():
            same = (
                torch.equal(value, others[name])
                if isinstance(value, torch.Tensor)
                else value == others[name]
            )
            assert same, f"{key}{name}"
    assert history(one) == history(other)


def history(checkpoint: dict[str, Any]) -> dict[str, list[float]]:
    scalars = checkpoint["message_hub"]["log_scalars"]
    return {
        name: list(map(float, buffer.data[0]))
        for name, buffer in scalars.items()
        if not name.endswith(("time", "memory"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("loop, workers", [("epochs", 2), ("iterations", 0)])
def test_a_broken_run_ends_as_a_whole_one(trained, task, loop, workers):
    whole = trained("whole", task, loop)
    # In the middle of an epoch, at its end, and right after a resume.
    broken = trained(
        "broken", task, loop, [("after", 3), ("after", 4), ("after", 5)], workers=workers
    )
    assert_same(whole, broken)
    assert len(history(whole)["train/loss"]) == ITERATIONS
    assert any(name.startswith("val/") for name in history(whole))


def test_a_run_that_draws_otherwise_ends_otherwise(trained):
    """So that the tests here do say something."""
    whole = trained("whole", "segmentation", "iterations")
    other = trained("other", "segmentation", "iterations", seed="1")
    with pytest.raises(AssertionError, match="state_dict"):
        assert_same(whole, other)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_seed_that_nobody_named_is_kept(trained, loop, monkeypatch):
    monkeypatch.setattr("mmengine.runner.utils.sync_random_seed", lambda: 77)
    whole = trained("whole", "segmentation", loop, seed=None)
    seeds = iter([77, 78])
    monkeypatch.setattr("mmengine.runner.utils.sync_random_seed", lambda: next(seeds))
    assert_same(whole, trained("broken", "segmentation", loop, [("after", 3)], seed=None))


@pytest.mark.parametrize("task, loop", [("detection", "epochs"), ("segmentation", "iterations")])
def test_a_broken_validation_is_made_up_for(trained, task, loop):
    whole = trained("whole", task, loop)
    broken = trained("broken", task, loop, [("validating", 4)])
    assert_same(whole, broken)
    assert "best" in str(sorted(whole["message_hub"]["runtime_info"]))


@pytest.mark.parametrize("loop", LOOPS)
def test_gradients_that_wait_for_more_are_kept(trained, loop):
    whole = trained("whole", "segmentation", loop, accumulated=3)
    broken = trained("broken", "segmentation", loop, [("after", 4), ("after", 5)], accumulated=3)
    assert_same(whole, broken)


@pytest.mark.parametrize(
    "schedule",
    [
        f"type='OneCycleLR', eta_max=0.1, total_steps={ITERATIONS}, by_epoch=False",
        f"type='CosineAnnealingLR', T_max={ITERATIONS}, by_epoch=False",
    ],
)
def test_other_schedules_go_on(trained, schedule):
    lines = f"param_scheduler = [dict({schedule})]\n"
    whole = trained("whole", "segmentation", "iterations", lines=lines)
    broken = trained("broken", "segmentation", "iterations", [("after", 3)], lines=lines)
    assert_same(whole, broken)
    assert len(set(history(whole)["train/lr"])) > ITERATIONS // 2


def test_a_scaler_of_losses_goes_on(trained):
    amp = {"wrapper": "CpuAmpOptimWrapper"}
    whole = trained("whole", "segmentation", "iterations", **amp)
    assert whole["optimizer"]["loss_scaler"]["scale"] == 2.0**12  # grown twice
    broken = trained("broken", "segmentation", "iterations", [("after", 2), ("after", 5)], **amp)
    assert_same(whole, broken)


def test_breaks_between_two_checkpoints_go_back_to_the_first(trained):
    whole = trained("whole", "segmentation", "iterations", interval=2)
    broken = trained("broken", "segmentation", "iterations", [("after", 5)], interval=2)
    assert_same(whole, broken)


@pytest.mark.parametrize(
    ("before", "after", "last"), [(2, 1, 2 * 2 + 2 * 4), (1, 2, 1 * 4 + 3 * 2)]
)
def test_with_other_batches_every_epoch_is_trained_once(
    before, after, last, tiny_config, shapes, tmp_path
):
    """Four pictures, four epochs, broken off after four batches, at an epoch's end."""
    lines = RANDOM.format(**SETTINGS) + PIPELINES["segmentation"] + LOOPS["epochs"]
    config, work = tiny_config("segmentation", lines), tmp_path / "work"
    command = ["train", str(config), "--data-root", str(shapes["segmentation"]), "--plain"]
    command += ["--work-dir", str(work), "--device", "cpu", "--seed", "0", "--cfg-options"]
    BreakOff.after = 4
    assert main([*command, f"train_dataloader.batch_size={before}"]) == 1
    BreakOff.after = None
    command.insert(2, "--resume=auto")
    assert main([*command, f"train_dataloader.batch_size={after}"]) == 0
    saved = sorted(int(path.stem[5:]) for path in work.glob("iter_*.pth"))
    assert saved == list(range(1, last + 1))


def test_mmengines_own_checkpoint_goes_on_and_says_what_it_lacks(trained, shapes, tmp_path, capsys):
    whole = trained("old", "segmentation", "iterations")
    old = tmp_path / "old" / "iter_4.pth"
    saved = torch.load(old, weights_only=False)
    del saved["exact_state"]
    torch.save(saved, old)
    old.with_name("iter_4.pth.sha256").unlink()
    (tmp_path / "old" / "last_checkpoint").write_text(str(old))
    for later in range(5, ITERATIONS + 1):
        (tmp_path / "old" / f"iter_{later}.pth").unlink()
    capsys.readouterr()
    resumed = trained_again(tmp_path, shapes["segmentation"])
    assert "not exactly as it would have" in capsys.readouterr().out
    # The data's order and augmentation are those of the seed all the same; drop path is not.
    assert len(history(resumed)["train/loss"]) == len(history(whole)["train/loss"])


def trained_again(tmp_path: Path, data: Path) -> dict[str, Any]:
    command = ["train", str(tmp_path / "tiny.py"), "--work-dir", str(tmp_path / "old")]
    command += ["--data-root", str(data)]
    assert main([*command, "--device", "cpu", "--plain", "--resume"]) == 0
    return torch.load(tmp_path / "old" / f"iter_{ITERATIONS}.pth", weights_only=False)


def test_loops_are_mmengines_to_whoever_asks():
    from mmconvnext.loops import ExactEpochBasedTrainLoop, ExactIterBasedTrainLoop

    assert issubclass(ExactEpochBasedTrainLoop, EpochBasedTrainLoop)
    assert issubclass(ExactIterBasedTrainLoop, IterBasedTrainLoop)
