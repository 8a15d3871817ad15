"""Two processes that go on from a checkpoint in the middle end as two that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sample_processes import run_in_two
from test_exact_resume import PIPELINES, flat

from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes

ITERATIONS, MIDDLE = 8, 4  # a step after 3, 6 and 8: gradients wait in the middle
CONFIG = Path(__file__).parent / "configs" / "shared_batch_segmentation.py"
RANDOM = f"""
model = dict(backbone=dict(drop_path_rate=0.5))
train_dataloader = dict()
{PIPELINES["segmentation"]}
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4, max_keep_ckpts=-1))
optim_wrapper = dict(accumulative_counts=3)
train_cfg = dict(max_iters={ITERATIONS})
"""
WAYS = {"ddp": (), "fsdp": ("--fsdp",)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
    ),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("exact")
    make_ade_shapes(root / "data", ShapesSpec(train=8, val=1, size=64, max_shapes=2))
    (root / "config.py").write_text(f"_base_ = {str(CONFIG)!r}\n{RANDOM}")

    def command(name: str, *options: str) -> list[str]:
        return [
            *("train", str(root / "config.py"), "--data-root", str(root / "data"), "--seed", "0"),
            *("--work-dir", str(root / name), "--device", "cpu", "--launcher", "pytorch", *options),
        ]

    run_in_two(
        [
            command(f"{name}_{way}", *options, *more)
            for way, options in WAYS.items()
            for name, more in {
                "whole": (),
                "resumed": ("--resume", str(root / f"whole_{way}" / f"iter_{MIDDLE}.pth")),
            }.items()
        ],
        root,
    )
    return root


@pytest.mark.parametrize("way", WAYS)
def test_going_on_in_the_middle_changes_nothing(way, work):
    whole, resumed = (
        torch.load(work / f"{name}_{way}" / f"iter_{ITERATIONS}.pth", weights_only=False)
        for name in ("whole", "resumed")
    )
    for key in ("state_dict", "optimizer", "exact_state"):
        ones, others = flat(whole[key]), flat(resumed[key])
        assert ones.keys() == others.keys()
        for name, value in ones.items():
            same = (
                torch.equal(value, others[name])
                if torch.is_tensor(value)
                else value == others[name]
            )
            assert same, f"{key}{name}"


@pytest.mark.parametrize("way", WAYS)
def test_each_process_has_its_own_random_numbers_and_the_mean_of_what_waits(way, work):
    state = torch.load(work / f"whole_{way}" / f"iter_{MIDDLE}.pth", weights_only=False)[
        "exact_state"
    ]
    assert state["processes"] == len(state["generators"]) == 2
    assert state["gradients"] and max(map(torch.max, state["gradients"].values())) > 0
    ended = torch.load(work / f"whole_{way}" / f"iter_{ITERATIONS}.pth", weights_only=False)
    assert ended["exact_state"]["gradients"] == {}
