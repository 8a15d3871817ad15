"""Training with a network that overflows, and the replay of the batch, as a user runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from sample_broken import Overflow

from mmconvnext.cli.lasting import make_lasting
from mmconvnext.cli.main import main

BROKEN = """
custom_imports = dict(imports=["mmconvnext", "sample_broken"], allow_failed_imports=False)
model = dict(backbone=dict(type="mmconvnext.BrokenConvNeXt", at={at}, backward=False))
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False))
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=3)
"""
FOUND = "first non-finite output: backbone.stages.2.1 (Overflow), 100 % of its values"


@pytest.fixture
def train(tiny_config, shapes, tmp_path) -> Callable[..., int]:
    """Trains three iterations in tmp_path/work; returns the status."""

    def run(task: str, at: list[int], *options: str) -> int:
        config = tiny_config(task, BROKEN.format(at=at))
        data = ["--data-root", str(shapes[task]), "--work-dir", str(tmp_path / "work")]
        return main(["train", str(config), *data, "--seed", "3", "--device", "cpu", *options])

    return run


def saved(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "work").glob("*.pth"))


def test_train_stops_with_a_line_and_replay_finds_the_same_place(task, train, tmp_path, capfd):
    assert train(task, [1]) == 1
    said = capfd.readouterr().err.strip().splitlines()
    (line,) = [line for line in said if line.startswith("mmconvnext train: ")]
    assert line.startswith("mmconvnext train: NonFiniteError: iteration 2: ") and FOUND in line
    assert not [line for line in said if "Traceback" in line]
    assert saved(tmp_path) == ["iter_1.pth", "nonfinite_iter_2.pth"]
    weights = torch.load(tmp_path / "work/iter_1.pth", weights_only=False)["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())

    # The line has the command.
    config, kept = str(tmp_path / "work/tiny.py"), str(tmp_path / "work/nonfinite_iter_2.pth")
    assert f"mmconvnext replay {config} {kept};" in line
    replay = ["replay", config, kept, "--device", "cpu"]
    assert main(replay) == 0
    told = capfd.readouterr().out
    assert "mmconvnext: iteration 2: it happened again: " in told and FOUND in told
    rows = [line for line in told.splitlines() if line.startswith(("│", "|"))]
    assert "backbone.stages.2.1" in rows[-1] and "0 %" in rows[-1]
    assert rows and all("100 %" in row for row in rows[:-1])

    # Of a network that is mended nothing happens again.
    assert main([*replay, "--cfg-options", "model.backbone.at=[]"]) == 1
    assert "all is finite, it did not happen again" in capfd.readouterr().out


def test_replay_lists_the_gradients_where_the_outputs_are_finite(train, tmp_path, capfd):
    assert train("segmentation", [1], "--cfg-options", "model.backbone.backward=True") == 1
    found = "first non-finite gradient: of the input of backbone.stages.2.1 (Overflow)"
    assert found in capfd.readouterr().err
    config, kept = str(tmp_path / "work/tiny.py"), str(tmp_path / "work/nonfinite_iter_2.pth")
    assert main(["replay", config, kept, "--device", "cpu"]) == 0
    told = capfd.readouterr().out
    rows = [line for line in told.splitlines() if line.startswith("│")]
    assert found in told and "0 %" in rows[-1] and "backbone.stages.2" in rows[-1]
    assert all("100 %" in row and "gradient" in row for row in rows[:-1])


@pytest.mark.parametrize("action", ["skip", "lower"])
def test_train_goes_on_where_that_is_asked_for(action, train, tmp_path):
    assert train("segmentation", [1], "--on-nonfinite", action) == 0
    first, second, third = (
        torch.load(tmp_path / f"work/iter_{n}.pth", weights_only=False) for n in (1, 2, 3)
    )
    weights = [each["state_dict"] for each in (first, second, third)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[1][name], weights[2][name]) for name in weights[0])
    known = third["message_hub"]["runtime_info"]["nonfinite"]
    assert known == {"lr_factor": 0.5 if action == "lower" else 1.0, "skipped": [1]}


def test_the_detector_that_meets_nan_is_skipped_too(train, tmp_path):
    assert train("detection", [0, 1], "--on-nonfinite", "skip") == 0
    assert saved(tmp_path)[:3] == ["iter_1.pth", "iter_2.pth", "iter_3.pth"]


LOOP = {"train_cfg": {"by_epoch": False, "max_iters": 1}}


def hooks_of(cfg: Config) -> list[dict]:
    return [dict(hook) for hook in cfg.custom_hooks]


def test_a_config_gets_the_hook_once_and_keeps_its_own_settings():
    guard = {"type": "FiniteGuardHook", "action": "skip", "max_skipped": 3}
    cfg = Config({**LOOP, "custom_hooks": [{"type": "NumClassCheckHook"}, dict(guard)]})
    make_lasting(cfg)
    assert hooks_of(cfg)[:2] == [{"type": "NumClassCheckHook"}, guard]
    make_lasting(cfg, "lower")
    assert hooks_of(cfg)[1] == {**guard, "action": "lower"}
    bare = Config(LOOP)
    make_lasting(bare)
    make_lasting(bare)
    kinds = [hook["type"] for hook in hooks_of(bare)]
    assert kinds.count("mmconvnext.FiniteGuardHook") == 1


def test_mmdets_own_check_gives_way_since_a_skipped_batch_has_no_loss():
    cfg = Config({**LOOP, "custom_hooks": [{"type": "CheckInvalidLossHook", "interval": 50}]})
    make_lasting(cfg)
    assert "CheckInvalidLossHook" not in [hook["type"] for hook in hooks_of(cfg)]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("absent.pth", "checkpoint not found: "),
        ("weights.pth", "expected a file nonfinite_iter_N.pth that training wrote, found another"),
    ],
)
def test_replay_refuses_what_is_no_replay_file(file, said, tiny_config, tmp_path, capsys):
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    assert main(["replay", str(tiny_config("segmentation")), str(tmp_path / file)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_replay_refuses_the_file_of_another_model(train, tiny_config, tmp_path, capsys):
    assert train("segmentation", [0]) == 1
    capsys.readouterr()
    other = str(tiny_config("detection", name="other.py"))
    file = str(tmp_path / "work/nonfinite_iter_1.pth")
    assert main(["replay", other, file, "--device", "cpu"]) == 2
    assert "the replay file does not fit" in capsys.readouterr().err


def test_the_sample_is_finite_in_other_iterations():
    assert torch.equal(Overflow([5])(torch.ones(2)), torch.ones(2))
