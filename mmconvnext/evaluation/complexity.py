"""Parameters and floating-point operations of a detector or segmentor, part by part.

Operations are multiply-accumulates of convolutions and matrix products (``torch``'s flop counter,
halved), as the ConvNeXt authors count them: one image, what inference computes, 1,000 boxes in each
box head and 100 in each mask head.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BOXES, MASKS = 1000, 100  # RoIs in each box head and each mask head
REST = "elsewhere"


def _product_flops(_: Any, left: Any, right: Any, **__: Any) -> int:
    """Of a matrix product, or a batch of them, by the shapes of its factors."""
    return 2 * math.prod(left) * int(right[-1])


# Torch's counter knows these only where they make a new tensor.
IN_PLACE = dict.fromkeys((torch.ops.aten.addmm_, torch.ops.aten.baddbmm_), _product_flops)


@dataclass(frozen=True)
class Part:
    """A part of a model: its parameters, and its multiply-accumulates for one image."""

    name: str
    params: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """A model's parts for an input of ``shape`` (height, width).

    Operations are those of the network as published; ``computed_macs`` is what this package's heads
    make of them, None without such heads.
    """

    shape: tuple[int, int]
    parts: tuple[Part, ...]
    rois: str  # where the RoIs of its heads came from; empty without such heads
    computed_macs: int | None = None

    @property
    def params(self) -> int:
        """Parameters of all parts."""
        return sum(part.params for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all parts."""
        return sum(part.macs for part in self.parts)


def count_complexity(model: nn.Module, shape: tuple[int, int]) -> Complexity:
    """Count ``model``'s parameters, and its operations for one image of ``shape``.

    Args:
        model: a detector or segmentor of mmdet or mmseg. On the meta device nothing is computed
            and no memory is needed; a network that cannot run there has to be built on the CPU.
        shape: height and width in pixels.

    Raises:
        NotImplementedError, RuntimeError: the model needs real numbers, and is on the meta device.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, *shape, device=device)
    one_pass: nn.Module
    roi_head: Any = getattr(model, "roi_head", None)
    if roi_head is None:
        one_pass, rois = _TensorPass(model), ""
    elif has_plain_heads(roi_head):
        one_pass, rois = _TwoStagePass(model), f"{BOXES:,} boxes, {MASKS} masks"
    elif device.type != "meta":
        one_pass, rois = _PredictPass(model), "those that the untrained model proposed"
    else:
        raise NotImplementedError(f"{type(roi_head).__name__} needs real proposals")
    owners = _owners(model)
    params = _params(model, owners)
    one_pass.eval()
    with _computing_as_published(model) as fast_heads:
        macs = _macs(one_pass, image, owners)
    computed = _macs(one_pass, image, owners).total() if fast_heads else None
    parts = [Part(n, params[n], macs[n]) for n in (*dict.fromkeys(owners.values()), REST)]
    return Complexity(shape, tuple(p for p in parts if p.params or p.macs), rois, computed)


@contextmanager
def _computing_as_published(model: nn.Module) -> Iterator[list[Any]]:
    """Let the heads that have a fast way (``heads/``) compute as the head that they stand for."""
    heads: list[Any] = [m for m in model.modules() if getattr(m, "fast_fusion", False)]
    for head in heads:
        head.fast_fusion = False
    try:
        yield heads
    finally:
        for head in heads:
            head.fast_fusion = True


class _TensorPass(nn.Module):
    """A model without RoIs, from image to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, image: Tensor) -> None:
        self.model(image, data_samples=samples_of(self.model, image), mode="tensor")


class _PredictPass(_TensorPass):
    """A whole prediction, with whatever the model itself proposes."""

    def forward(self, image: Tensor) -> None:
        self.model(image, data_samples=samples_of(self.model, image), mode="predict")


class _TwoStagePass(_TensorPass):
    """Backbone to RPN on the image, then the heads on blank RoI features.

    Which RoIs there are depends on numbers, which the meta device does not have; what a head
    computes depends on their number only.
    """

    def forward(self, image: Tensor) -> None:
        features = self.model.extract_feat(image)
        for name in ("rpn_head", "semantic_head"):
            if getattr(self.model, name, None) is not None:
                getattr(self.model, name)(features)
        roi_head = self.model.roi_head
        for kind, count in (("bbox", BOXES), ("mask", MASKS)):
            extractors = _as_list(getattr(roi_head, f"{kind}_roi_extractor", None))
            heads = _as_list(getattr(roi_head, f"{kind}_head", None))
            for i, head in enumerate(heads):
                extractor = extractors[min(i, len(extractors) - 1)]
                size = extractor.roi_layers[0].output_size
                head(image.new_zeros(count, extractor.out_channels, *size))


def has_plain_heads(roi_head: nn.Module) -> bool:
    """Whether a RoI head's heads take RoI features alone, and all of them."""
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    return type(roi_head) in (StandardRoIHead, CascadeRoIHead)


def samples_of(model: nn.Module, image: Tensor) -> list | None:
    """What mmdet wants to know of each image; mmseg asks for nothing."""
    if not type(model).__module__.startswith("mmdet."):
        return None
    from mmdet.structures import DetDataSample

    shape = tuple(image.shape[-2:])
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
    meta = {**shapes, "scale_factor": (1.0, 1.0), "img_id": 0}
    return [DetDataSample(metainfo=meta) for _ in image]


def _owners(model: nn.Module) -> dict[nn.Module, str]:
    """The part that each module belongs to; a shared one to the first that has it."""
    prefixes = dict(_named_parts(model))
    owners = {}
    for path, module in model.named_modules():
        for prefix, part in prefixes.items():
            if f"{path}.".startswith(f"{prefix}."):
                owners[module] = part
    return owners


def _named_parts(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Paths of the modules that make the parts, and each one's part."""
    for name, child in model.named_children():
        if {"downsample_layers", "stages"} <= child._modules.keys():  # a ConvNeXt
            for i in range(len(child.get_submodule("stages")._modules)):
                for path in (f"downsample_layers.{i}", f"stages.{i}", f"norm{i}"):
                    yield f"{name}.{path}", f"{name} stage {i + 1}"
        elif name == "roi_head" or isinstance(child, nn.ModuleList):
            for path, _ in _named_parts(child):
                yield f"{name}.{path}", f"{name}.{path}"
        else:
            yield name, name


def _params(model: nn.Module, owners: Mapping[nn.Module, str]) -> Counter[str]:
    """Number of parameters of each part; shared ones count once."""
    found: Counter[str] = Counter()
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for param in module.parameters(recurse=False):
            if param not in seen:
                seen.add(param)
                found[owners.get(module, REST)] += param.numel()
    return found


def _macs(one_pass: nn.Module, image: Tensor, owners: Mapping[nn.Module, str]) -> Counter[str]:
    """Multiply-accumulates of each part: those computed while a module of it was the innermost."""
    found: Counter[str] = Counter()
    inside = [REST]
    counter = FlopCounterMode(display=False, custom_mapping=IN_PLACE)

    def settle() -> None:
        found[inside[-1]] += counter.get_total_flops() // 2 - found.total()

    def enter(module: nn.Module, _: Any) -> None:
        settle()
        inside.append(owners[module])

    def leave(*_: Any) -> None:
        settle()
        inside.pop()

    hooks = [m.register_forward_pre_hook(enter) for m in owners]
    hooks += [m.register_forward_hook(leave) for m in owners]
    try:
        with torch.no_grad(), counter:
            one_pass(image)
        settle()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _as_list(modules: nn.Module | None) -> list[Any]:
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]
