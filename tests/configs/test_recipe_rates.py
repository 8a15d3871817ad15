"""Rates, weight decay and schedules of all recipes against a second statement of the authors'."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from published import ALL, DETECTION, OFFICIAL, SEGMENTATION, build, load
from torch import nn

# Chosen, or published apart from the table: rate, decay, kind of decay.
OTHERS = {
    "detection/mask_rcnn_convnextv2": (1e-4, 0.95, "layer_wise"),
    "detection/cascade_convnext_t_dinov3": (2e-4, 0.7, "layer_wise"),
    "detection/cascade_convnext_s_dinov3": (2e-4, 0.7, "layer_wise"),
    "detection/cascade_convnext_b_dinov3": (1e-4, 0.8, "layer_wise"),
    "detection/cascade_convnext_l_dinov3": (1e-4, 0.7, "layer_wise"),
    "segmentation/upernet_convnextv2": (1e-4, 0.9, "stage_wise"),
    "segmentation/upernet_convnext": (1e-4, 0.9, "stage_wise"),
}


def settings(name: str) -> tuple[float, float, str]:
    if name in OFFICIAL:
        row = OFFICIAL[name]
        return float(row["lr"]), float(row["decay_rate"]), row["decay_type"]
    return next(values for start, values in OTHERS.items() if name.startswith(start))


def num_layers(name: str) -> int:
    if name in OFFICIAL:
        return int(OFFICIAL[name]["num_layers"])
    return 6 if "_convnext_t_" in name else 12


def authors_scale(name: str, decay: float, kind: str, layers: int) -> float:
    """What a parameter's rate is multiplied by, as the authors' optimizer constructor has it."""
    words = name.split(".")
    if words[0] != "backbone" or words[1] not in ("downsample_layers", "stages"):
        layer = layers + 1
    elif kind == "stage_wise":
        layer = 0 if words[1] == "downsample_layers" else int(words[2]) + 1
    elif words[1] == "downsample_layers":
        layer = {0: 0, 1: 2, 2: 3, 3: layers}[int(words[2])]
    else:
        stage, block = int(words[2]), int(words[3])
        layer = {0: 1, 1: 2, 2: 3 + block // 3, 3: layers}[stage]
    return decay ** (layers + 1 - layer)


def authors_decay(name: str, param: nn.Parameter) -> float:
    """0 for vectors and biases; V2's authors add GRN's two, which are not vectors."""
    grn = ".grn." in name and name.endswith((".gamma", ".beta"))
    return 0.0 if param.ndim == 1 or name.endswith(".bias") or grn else 0.05


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_has_the_authors_rate_and_weight_decay(name: str) -> None:
    model, cfg = build(name), load(name)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type="OptimWrapper"))
    names = {param: n for n, param in model.named_parameters()}
    rate, decay, kind = settings(name)
    seen: Counter[str] = Counter()
    for group in wrapper.optimizer.param_groups:
        for param in group["params"]:
            key = names[param]
            seen[key] += 1
            scale = authors_scale(key, decay, kind, num_layers(name))
            assert group["lr"] == pytest.approx(rate * scale, rel=1e-12), key
            assert group["weight_decay"] == authors_decay(key, param), key
    trained = {n for n, param in model.named_parameters() if param.requires_grad}
    assert seen == Counter(trained)


@pytest.mark.parametrize("name", ALL)
def test_optimizer_precision_and_batch_are_the_published_ones(name: str) -> None:
    cfg, (rate, decay, kind) = load(name), settings(name)
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(type="AdamW", lr=rate, betas=(0.9, 0.999), weight_decay=0.05)
    assert wrapper.paramwise_cfg == dict(decay_rate=decay, decay_type=kind)
    assert wrapper.get("clip_grad") is None
    single = OFFICIAL[name]["amp"] == "False" if name in OFFICIAL else "_l_dinov3" in name
    assert wrapper.type == ("OptimWrapper" if single else "AmpOptimWrapper")
    batch = 32 if "detection/mask_rcnn_convnextv2" in name else 16
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == batch
    assert not cfg.auto_scale_lr.enable


def rates(cfg: Config, wanted: list[int], epoch_length: int) -> dict[int, float]:
    """What mmengine's schedulers make of a rate of 1, before each of the wanted iterations."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        (
            entry["by_epoch"],
            PARAM_SCHEDULERS.build(dict(entry), default_args={"optimizer": optimizer}),
        )
        for entry in cfg.param_scheduler
    ]
    optimizer.step()
    found = {}
    for iteration in range(max(wanted) + 1):
        if iteration in wanted:
            found[iteration] = optimizer.param_groups[0]["lr"]
        for by_epoch, scheduler in schedulers:
            if not by_epoch or (iteration + 1) % epoch_length == 0:
                scheduler.step()
    return found


def test_detection_rate_follows_warm_up_and_milestones() -> None:
    epoch = 1600  # iterations; the real 7,330 only make the test slower

    def published(iteration: int) -> float:
        warm_up = min(1.0, 0.001 + 0.999 * iteration / 500)
        return warm_up * 0.1 ** ((iteration >= 27 * epoch) + (iteration >= 33 * epoch))

    wanted = [0, 1, 250, 499, 500, 501, 1500]
    wanted += [27 * epoch - 1, 27 * epoch, 33 * epoch - 1, 33 * epoch, 36 * epoch - 1]
    found = rates(load(DETECTION[0]), wanted, epoch)
    assert found == pytest.approx({i: published(i) for i in wanted}, rel=1e-9)


def test_segmentation_rate_is_warm_up_times_a_line_to_zero() -> None:
    def published(iteration: int) -> float:
        return min(1.0, 1e-6 + (1 - 1e-6) * iteration / 1500) * (1 - iteration / 160000)

    wanted = [0, 1, 500, 1499, 1500, 1501, 5000, 80000, 159999]
    found = rates(load(SEGMENTATION[0]), wanted, 10**9)
    assert found == pytest.approx({i: published(i) for i in wanted}, rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_of_a_task_has_the_same_schedule(name: str) -> None:
    cfg = load(name)
    first = load(DETECTION[0] if name in DETECTION else SEGMENTATION[0])
    assert cfg.param_scheduler == first.param_scheduler
    assert cfg.train_cfg == first.train_cfg
    if name in DETECTION:
        assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ("EpochBasedTrainLoop", 36)
    else:
        assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ("IterBasedTrainLoop", 160000)
    if name in OFFICIAL:
        length = "36 epochs" if name in DETECTION else "160k iterations"
        assert OFFICIAL[name]["schedule"].startswith(length)
