"""docs/many_gpus.md: its commands name what is there, its rates and schedules are the recipes'."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from mmconvnext.cli import test, train
from mmconvnext.cli.configs import load_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "many_gpus.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S)).replace("\\\n", " ")
COMMANDS = [line for line in BLOCKS.splitlines() if "tools/" in line and line[0] != "#"]
ACCUMULATED = [line for line in COMMANDS if "accumulative_counts" in line]
RECIPES = (  # the table's columns
    "detection/cascade_convnext_t_coco.py",
    "detection/mask_rcnn_convnext_t_coco.py",
    "segmentation/upernet_convnext_t_ade20k_512.py",
)


def config_of(command: str, monkeypatch: pytest.MonkeyPatch, options: bool = True) -> Config:
    monkeypatch.chdir(ROOT)
    tool, _, rest = command.partition("tools/")[2].partition(".py ")
    arguments = {"train": train, "test": test}[tool].parser().parse_args(shlex.split(rest))
    return load_config(arguments.config, arguments.cfg_options if options else {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_configs_and_settings_that_are_there(command, monkeypatch):
    cfg = config_of(command, monkeypatch)
    counts = cfg.optim_wrapper.get("accumulative_counts", 1)
    processes = re.findall(r"(?:--nproc-per-node|--nnodes|--ntasks[ =]) ?(\d+)", command)
    gpus = 1
    for number in processes:
        gpus *= int(number)
    assert gpus * cfg.train_dataloader.batch_size * counts == cfg.auto_scale_lr.base_batch_size


@pytest.mark.parametrize("line", re.findall(r"\n\| (\d.*) \|(?=\n)", PAGE))
def test_scaled_rates_are_the_recipes(line):
    gpus, factor, *rates = line.split(" | ")
    assert eval(factor.removeprefix("x ")) == int(gpus) * 2 / 16
    for recipe, rate in zip(RECIPES, rates, strict=True):
        cfg = Config.fromfile(ROOT / "configs" / recipe)
        assert cfg.auto_scale_lr.base_batch_size == 16
        assert float(rate) == pytest.approx(cfg.optim_wrapper.optimizer.lr * int(gpus) * 2 / 16)


@pytest.mark.parametrize("command", ACCUMULATED)
def test_accumulating_keeps_the_rate_of_each_step(command, monkeypatch):
    plain = config_of(command, monkeypatch, options=False)
    accumulated = config_of(command, monkeypatch)
    times = accumulated.optim_wrapper.accumulative_counts
    steps = plain.param_scheduler[0].end + 20  # the warm-up, and a little more
    iterations = rates(accumulated, steps * times)
    for step, rate in enumerate(rates(plain, steps)):
        assert iterations[step * times] == pytest.approx(rate, rel=1e-6)

    if "max_iters" in plain.train_cfg:
        assert accumulated.train_cfg.max_iters == plain.train_cfg.max_iters * times
        assert accumulated.train_cfg.val_interval == plain.train_cfg.val_interval * times
        saved = [cfg.default_hooks.checkpoint.interval for cfg in (accumulated, plain)]
        assert saved[0] == saved[1] * times
    assert "--auto-scale-lr" not in command


def rates(cfg: Config, iterations: int) -> list[float]:
    """The rate in each of the first ``iterations``, relative to the recipe's."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler), default_args={"optimizer": optimizer})
        for scheduler in cfg.param_scheduler
    ]
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
    return found
