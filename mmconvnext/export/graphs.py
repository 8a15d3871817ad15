"""What is exported of a model: one module, tensors in and tensors out."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.export.detector import DetectorGraph
from mmconvnext.export.pooling import replace_adaptive_pools
from mmconvnext.export.preparation import Preparation, Prepare
from mmconvnext.export.segmentor import SegmentorGraph
from mmconvnext.export.supported import check_detector, check_segmentor
from mmconvnext.inference.optimizing import optimize_for_inference

EXAMPLE = (192, 256)  # height and width of what is traced; what is exported takes any


class BackboneGraph(nn.Module):
    """A backbone's feature maps, by their stage."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.outputs = tuple(f"stage_{index + 1}" for index in backbone.out_indices)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """(N, 3, H, W), normalised, to a map of each stage; ``size`` is of no interest."""
        maps: tuple[Tensor, ...] = self.backbone(x)
        return maps


class NormalisedInput(nn.Module):
    """A graph that takes what the config's pipeline and data preprocessor have made."""

    input_name = "input"
    axes = (0, 2, 3)  # of batch, height and width

    def __init__(self, network: Any, settings: Preparation) -> None:
        super().__init__()
        # Not `graph`: what torch.export makes of a module has an attribute of that name.
        self.network, self._settings = network, settings
        self.outputs: tuple[str, ...] = network.outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float32 to the graph's outputs."""
        found: tuple[Tensor, ...] = self.network(x)
        return found

    def example(self, batch: int, size: tuple[int, int]) -> Tensor:
        """An input of this size."""
        return torch.zeros(batch, 3, *size)

    def from_pictures(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB as an input, not resized."""
        return Prepare(dataclasses.replace(self._settings, scale=None, other_steps=()))(image)


class PictureInput(nn.Module):
    """A graph that takes pictures as they are and prepares them itself."""

    input_name = "image"
    axes = (0, 1, 2)  # of batch, height and width

    def __init__(self, network: Any, settings: Preparation) -> None:
        super().__init__()
        self.prepare, self.network = Prepare(settings), network
        self.outputs: tuple[str, ...] = network.outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, H, W, 3) uint8 RGB to the graph's outputs, in the pictures' own pixels."""
        size = (image.shape[1], image.shape[2])
        found: tuple[Tensor, ...] = self.network(self.prepare(image), size)
        return found

    def example(self, batch: int, size: tuple[int, int]) -> Tensor:
        """An input of this size."""
        return torch.zeros(batch, *size, 3, dtype=torch.uint8)

    def from_pictures(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB as an input: as they are."""
        return image


Graph = NormalisedInput | PictureInput


def build_graph(
    model: Any, task: str, settings: Preparation, *, part: str, preprocessing: str
) -> Graph:
    """The module that is exported.

    Args:
        model: mmdet's or mmseg's, with its weights; stays as it is.
        task: 'detection' or 'segmentation'.
        settings: what happens to pictures before the network.
        part: 'model' or 'backbone'.
        preprocessing: 'inside' or 'outside'.

    Raises:
        ExportError: the model or the pipeline is of a kind that cannot be exported.
    """
    graph: Any
    if part == "backbone":
        graph = BackboneGraph(_folded(model.backbone))
    elif task == "detection":
        check_detector(model)
        graph = DetectorGraph(_folded(model), settings.divisor)
    else:
        check_segmentor(model)
        graph = SegmentorGraph(_folded(model))
    replace_adaptive_pools(graph)
    kind = NormalisedInput if preprocessing == "outside" else PictureInput
    return kind(graph, settings).eval()


def _folded(model: Any) -> Any:
    try:
        return optimize_for_inference(model)
    except ValueError:  # no ConvNeXt: a RoadNet, a ResNet
        return copy.deepcopy(model)
