"""A second of the real thing: a network forward and backward, NMS, RoIAlign, a checkpoint.

Results are compared with numbers written here, not with another run of the same operator: one that
is broken is found, whoever provides it.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING

from mmconvnext.doctor.distributions import carriers, install, pinned
from mmconvnext.doctor.finding import GREEN, RED, YELLOW, Finding
from mmconvnext.doctor.openmmlab import reinstall_this

if TYPE_CHECKING:
    import torch

# Mean of the squares of ConvNeXt-Atto's four maps, filled by `network_on`.
MAPS = [0.9792986486755229, 0.9344737813915973, 1.1448864688857887, 1.0389709980130104]
_PIXELS = 64
_STEP = 1e-5  # of the difference that the gradient is compared with
_HOSTS = ("mmdet", "mmseg")


def network() -> Finding:
    """ConvNeXt-Atto: its maps and its gradient."""
    import torch

    for device in _devices():
        maps, error = network_on(device, torch.float64)
        problem = judge_numbers(f"maps on {device}", maps, MAPS, 1e-6)
        problem = problem or judge_numbers(f"gradient on {device}", [error], [0.0], 1e-5)
        if problem:
            return Finding(RED, problem, install("torch", "torchvision", options="-U"))
    return Finding(GREEN, f"ConvNeXt-Atto forward and backward on {', '.join(_devices())}")


def network_on(device: str, dtype: torch.dtype) -> tuple[list[float], float]:
    """Mean squares of the four maps, and the relative error of the gradient along one direction
    against the difference of two forward passes."""
    import torch

    from mmconvnext.backbones import ConvNeXt

    with torch.random.fork_rng(devices=[]):
        model = ConvNeXt(arch="atto", drop_path_rate=0.0).to(device, dtype).train()
    with torch.no_grad():
        for number, param in enumerate(model.parameters()):
            param.copy_(_wave(param.shape, number) * (0.1 if param.ndim > 1 else 1.0))
    picture = _wave((1, 3, _PIXELS, _PIXELS), 0.5).to(device, dtype)
    direction = [_wave(param.shape, -1.0).to(param) for param in model.parameters()]

    def squares() -> list[torch.Tensor]:
        return [level.square().mean() for level in model(picture)]

    def moved(step: float) -> float:
        with torch.no_grad():
            for param, along in zip(model.parameters(), direction, strict=True):
                param.add_(along, alpha=step)
            return sum(level.item() for level in squares())

    levels = squares()
    torch.stack(levels).sum().backward()
    slope = sum(
        (param.grad * along).sum().item()
        for param, along in zip(model.parameters(), direction, strict=True)
        if param.grad is not None
    )
    difference = (moved(_STEP) - moved(-2 * _STEP)) / (2 * _STEP)
    return [level.item() for level in levels], abs(slope - difference) / abs(difference)


def _wave(shape: tuple[int, ...], phase: float) -> torch.Tensor:
    """Numbers without a random generator, which need not give the same ones everywhere."""
    import math

    import torch

    count = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(count * 0.7 + phase).reshape(shape)


def operators() -> Finding:
    """NMS and RoIAlign as detectors call them: mmcv's, or torchvision's where mmcv is missing."""
    whose = "mmcv.ops" if carriers("mmcv") else "torchvision.ops"
    for device in _devices():
        kept, bins, gradient = operators_of(whose, device)
        problem = (
            judge_numbers(f"{whose}.nms on {device}", kept, [2, 0, 4], 0)
            or judge_numbers(f"{whose} RoIAlign on {device}", bins, [16.5, 18.5, 36.5, 38.5], 1e-5)
            or judge_numbers(f"{whose} RoIAlign's gradient on {device}", [gradient], [4.0], 1e-5)
        )
        if problem:
            mend = install("torch", "torchvision", pinned("mmcv"), options="--force-reinstall")
            return Finding(RED, problem, mend)
    return Finding(GREEN, f"{whose}: NMS and RoIAlign on {', '.join(_devices())}")


def operators_of(whose: str, device: str) -> tuple[list[float], list[float], float]:
    """Boxes that NMS keeps, RoIAlign's four bins of a slope, and the sum of its gradient.

    Of f(x, y) = x + 10 y, bilinear samples are exact, so that a bin's mean is f at its centre; the
    weights of each bin's samples sum up to 1.
    """
    import torch

    ops = import_module(whose)
    boxes = [[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [21, 20, 30, 30], [0, 0, 10, 21]]
    scores = [0.8, 0.7, 0.9, 0.6, 0.5]
    with torch.device(device):
        kept = ops.nms(torch.tensor(boxes), torch.tensor(scores), 0.5)
        line = torch.arange(8.0)
        slope = (line + 10 * line[:, None])[None, None].requires_grad_()
        rois = torch.tensor([[0.0, 1, 1, 5, 5]])
    kept = kept[1] if isinstance(kept, tuple) else kept  # mmcv gives the boxes, too
    align = {"output_size": (2, 2), "spatial_scale": 1.0, "sampling_ratio": 2, "aligned": True}
    bins = ops.RoIAlign(**align)(slope, rois)
    bins.sum().backward()
    assert slope.grad is not None
    return kept.tolist(), bins.flatten().tolist(), slope.grad.sum().item()


def checkpoints() -> Finding:
    """Reading what mmengine's runner writes, safely."""
    import torch
    from mmengine.logging import HistoryBuffer

    file = io.BytesIO()
    torch.save({"message_hub": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])}}, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    values = read["message_hub"]["loss"].data[0].tolist()
    problem = judge_numbers("a checkpoint's log history", values, [1.0, 2.0], 0)
    if problem:
        return Finding(RED, problem, install("torch", "torchvision", options="-U"))
    return Finding(GREEN, "written and read with weights_only=True, as for --resume")


def registries() -> Finding:
    """Whether mmdet's and mmseg's configs find the network by its names."""
    answers = {}
    for host in _HOSTS:
        if carriers(host):
            models = import_module(f"{host}.registry").MODELS
            answers[host] = [models.get(n) for n in ("mmconvnext.ConvNeXt", "ConvNeXt")]
    return judge_registries(
        {host: [a is not None for a in found] for host, found in answers.items()}
    )


def judge_registries(found: dict[str, list[bool]]) -> Finding:
    """Whether both names, ``mmconvnext.ConvNeXt`` and ``ConvNeXt``, are found from each host."""
    if not found:
        mend = install(pinned("mmdet"), pinned("mmseg"))
        return Finding(YELLOW, "neither mmdet nor mmseg: nothing to be a backbone of", mend)
    lacking = [host for host, names in found.items() if not all(names)]
    if lacking:
        line = f"ConvNeXt is not in the model registry of {', '.join(lacking)}"
        return Finding(RED, line, reinstall_this())
    return Finding(GREEN, f"ConvNeXt found from {' and '.join(found)}")


def judge_numbers(what: str, found: list, expected: list, tolerance: float) -> str:
    """The line that says how numbers differ, by more than ``tolerance`` of the largest; empty where
    they do not."""
    scale = max([abs(value) for value in expected] or [0]) or 1.0
    close = len(found) == len(expected) and all(
        abs(f - e) <= tolerance * scale  # false for NaN
        for f, e in zip(found, expected, strict=True)
    )
    if close:
        return ""
    return f"{what}: expected {_shown(expected)}, found {_shown(found)}"


def _shown(values: list) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
