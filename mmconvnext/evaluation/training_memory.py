"""Memory that training a detector or segmentor takes on a GPU, counted without one.

A forward pass on fake CUDA tensors computes nothing, but goes where a GPU's would, autocast
included: what autograd would keep is counted to the byte, for two pictures and for three. To this
come the parameters, their gradients and AdamW's two moments, and an allowance for what cannot be
counted (:data:`CONTEXT`, :data:`SPARE`). Losses of detectors are left out: they are small beside
the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from mmconvnext.backbones import ConvNeXt
from mmconvnext.backbones.block import Block
from mmconvnext.backbones.kept import counting_kept
from mmconvnext.backbones.recompute import MODES
from mmconvnext.backbones.torch_state import autocast_state, set_cuda_autocast
from mmconvnext.evaluation.complexity import has_plain_heads, samples_of

GIB = 2**30
CONTEXT = GIB  # CUDA's own memory, libraries' workspaces
SPARE = 0.15  # of what is kept: the backward pass' own maps, fragmentation
COPIES = 4  # of each parameter that learns: itself, gradient, AdamW's moments


@dataclass(frozen=True)
class Kept:
    """Bytes kept for the backward pass: for each picture, and whatever their number."""

    mode: str | None  # of ``recompute``
    autocast: bool  # to 16 bits
    each: int
    whatever: int


@dataclass(frozen=True)
class TrainingMemory:
    """What training takes at pictures of ``shape`` (height, width).

    Attributes:
        weights: bytes of parameters, gradients and optimizer state.
        kept: one for each precision and mode; models without ConvNeXt have only None, which
            stands for what their config says.
        whole: whether heads were counted; else only backbone and neck.
    """

    shape: tuple[int, int]
    params: int
    weights: int
    kept: tuple[Kept, ...]
    whole: bool

    def pictures(self, kept: Kept, gib: float) -> int:
        """The largest batch that fits a GPU of ``gib`` GiB; 0: none."""
        left = gib * GIB - CONTEXT - self.weights - kept.whatever * (1 + SPARE)
        return max(int(left // (kept.each * (1 + SPARE))), 0) if kept.each else 0


def count_training_memory(
    model: nn.Module,
    shape: tuple[int, int],
    modes: Sequence[str | None] = MODES,
    precisions: Sequence[bool] = (False, True),
) -> TrainingMemory:
    """Count what training ``model`` keeps, in fp32 and with autocast, in each mode.

    Args:
        model: a detector or segmentor of mmdet or mmseg, on the meta device; unusable afterwards.
        shape: height and width in pixels, of the padded pictures.
        modes: of ``recompute`` to count, for a ConvNeXt.
        precisions: with autocast or not.

    Raises:
        ValueError: the model does not take pictures of that shape.
        RuntimeError, NotImplementedError: it cannot run without numbers.
    """
    backbones = [module for module in model.modules() if isinstance(module, ConvNeXt)]
    with FakeTensorMode():
        _onto_fake_gpu(model)
        model.train()
        run, whole = _training_pass(model, shape)
        found = []
        for autocast in precisions:
            for mode in modes if backbones else (None,):
                _set_mode(backbones, mode)
                # Not one: BatchNorm wants more than one value.
                two, three = (_bytes_kept(model, run, n, shape, autocast) for n in (2, 3))
                found.append(Kept(mode, autocast, three - two, max(3 * two - 2 * three, 0)))
    return TrainingMemory(
        shape,
        sum(p.numel() for p in model.parameters()),
        sum(
            p.numel() * p.element_size() * (COPIES if p.requires_grad else 1)
            for p in model.parameters()
        ),
        tuple(found),
        whole,
    )


Pass = Callable[[Tensor], object]


def _training_pass(model: Any, shape: tuple[int, int]) -> tuple[Pass, bool]:
    """What stands for a training step of ``model``, and whether its heads are in it."""
    if hasattr(model, "decode_head"):
        return lambda images: _segment(model, images), True
    if getattr(model, "roi_head", None) is not None and has_plain_heads(model.roi_head):
        return lambda images: _detect_in_two_stages(model, images), True

    def forward(images: Tensor) -> object:
        return model(images, data_samples=samples_of(model, images), mode="tensor")

    try:
        _bytes_kept(model, forward, 2, shape, autocast=False)
    except ValueError:
        raise
    except Exception:  # whatever heads raise that want real boxes
        return model.extract_feat, False
    return forward, getattr(model, "roi_head", None) is None


def _segment(model: Any, images: Tensor) -> list[Tensor]:
    """Heads, and the cross entropy of their logits at full size."""
    features = model.extract_feat(images)
    auxiliary = getattr(model, "auxiliary_head", None)
    heads = auxiliary if isinstance(auxiliary, nn.ModuleList) else [auxiliary]
    size = images.shape[-2:]
    labels = torch.zeros((len(images), *size), dtype=torch.long, device=images.device)
    losses = []
    for head in (model.decode_head, *heads):
        if head is not None:
            logits = F.interpolate(head(features), size=size, mode="bilinear")
            losses.append(F.cross_entropy(logits, labels))
    return losses


def _detect_in_two_stages(model: Any, images: Tensor) -> list[object]:
    """Backbone to RPN, then the heads on as many blank RoI features as they learn from."""
    features = model.extract_feat(images)
    outs: list[object] = [features]
    if getattr(model, "rpn_head", None) is not None:
        outs.append(model.rpn_head(features))
    rcnn = model.train_cfg.rcnn
    for kind in ("bbox", "mask"):
        extractors = _as_list(getattr(model.roi_head, f"{kind}_roi_extractor", None))
        for i, head in enumerate(_as_list(getattr(model.roi_head, f"{kind}_head", None))):
            sampler = (rcnn[i] if isinstance(rcnn, list) else rcnn).sampler
            count = sampler.num if kind == "bbox" else int(sampler.num * sampler.pos_fraction)
            extractor = extractors[min(i, len(extractors) - 1)]
            size = extractor.roi_layers[0].output_size
            rois = features[0].new_zeros(len(images) * count, extractor.out_channels, *size)
            outs.append(head(rois.requires_grad_()))
    return outs


def _as_list(modules: nn.Module | None) -> list[Any]:
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def _set_mode(backbones: list[ConvNeXt], mode: str | None) -> None:
    """And no drop path, which keeps less, by luck."""
    for backbone in backbones:
        backbone.memory_budget = None
        for block in backbone.modules():
            if isinstance(block, Block):
                block.recompute, block.drop_path_rate = mode, 0.0


def _bytes_kept(
    model: nn.Module, run: Pass, pictures: int, shape: tuple[int, int], autocast: bool
) -> int:
    images = torch.empty(pictures, 3, *shape, device="cuda")
    with torch.enable_grad(), _cuda_autocast(autocast), counting_kept(model) as kept:
        outs = run(images)
        found = kept()
    del outs
    return found


@contextmanager
def _cuda_autocast(enabled: bool) -> Iterator[None]:
    """``torch.autocast("cuda")``, which turns itself off where there is no GPU."""
    before = autocast_state("cuda")
    set_cuda_autocast(torch.bfloat16, enabled)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        set_cuda_autocast(*before)


def _onto_fake_gpu(model: nn.Module) -> None:
    """Exchange every parameter and buffer for a fake one; shared ones stay shared."""
    fakes: dict[Tensor, Tensor] = {}

    def fake(real: Tensor) -> Tensor:
        if real not in fakes:
            empty = torch.empty(real.shape, dtype=real.dtype, device="cuda")
            is_parameter = isinstance(real, nn.Parameter)
            fakes[real] = nn.Parameter(empty, real.requires_grad) if is_parameter else empty
        return fakes[real]

    for module in model.modules():
        for store in (module._parameters, module._buffers):
            values: dict[str, Any] = store
            values.update({name: fake(t) for name, t in values.items() if t is not None})
