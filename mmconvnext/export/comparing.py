"""Whether an exported file gives what the model gives, by mmdet's and mmseg's own prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from mmconvnext.evaluation.partners import partners
from mmconvnext.export.graphs import BackboneGraph, Graph, PictureInput
from mmconvnext.export.runner import paste

Outputs = Mapping[str, np.ndarray]
Run = Callable[[np.ndarray], Outputs]  # an input of the graph to its outputs, by name

LOGITS, PIXELS, MAPS = 1e-3, 0.999, 1e-3
OVERLAP, SCORE, MASK = 0.99, 1e-3, 0.99
_OF_ONE_OBJECT = 0.5  # IoU from which two boxes of a label are compared as partners


@dataclasses.dataclass
class Difference:
    """How far two sides are apart, over all inputs that were compared.

    Args:
        count: what was compared: detections, pixels, or numbers of feature maps.
        worst: by what was compared, the worst value found and the worst that may be.
        failures: what is further apart than it may be, a line each.
    """

    count: int = 0
    worst: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Note a difference that may be ``limit`` at most; what is no number is beyond it."""
        self._note(name, value, limit, value <= limit, max)

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Note an agreement that must be ``limit`` at least."""
        self._note(name, value, limit, value >= limit, min)

    def _note(self, name: str, value: float, limit: float, holds: bool, worse: Any) -> None:
        before = self.worst.get(name, (value, limit))[0]
        self.worst[name] = (value if value != value else worse(before, value), limit)
        if not holds:
            self.failures.append(f"{name} {value:.4g}, allowed is {limit:g}")

    def __str__(self) -> str:
        """The worst of each kind, in words."""
        return ", ".join(f"{name} {value:.4g}" for name, (value, _) in self.worst.items())


def compare(run: Run, graph: Graph, model: Any, inputs: Sequence[np.ndarray]) -> Difference:
    """Compare an exported file with the model that it was made of.

    Args:
        run: the file's.
        graph: that was exported.
        model: mmdet's or mmseg's as it was trained, nothing folded.
        inputs: of the graph.
    """
    difference = Difference()
    for value in inputs:
        found = run(value)
        with torch.no_grad():
            x, size = _prepared(graph, torch.from_numpy(value))
            if isinstance(graph.network, BackboneGraph):
                _compare_maps(found, model.backbone(x), difference)
            elif "boxes" in found:
                _compare_detections(found, _detections(graph, model, x, size), model, difference)
            else:
                _compare_classes(found, model, x, size, difference)
    return difference


def _prepared(graph: Graph, value: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """What the network takes, and the size of the picture that it was made of."""
    if isinstance(graph, PictureInput):
        return graph.prepare(value), (value.shape[1], value.shape[2])
    return value, (value.shape[2], value.shape[3])


def _compare_maps(found: Outputs, expected: Sequence[Tensor], difference: Difference) -> None:
    for (name, values), tensor in zip(found.items(), expected, strict=True):
        reference = tensor.numpy()
        scale = max(1.0, float(np.abs(reference).max()))
        apart = float(np.abs(values - reference).max()) / scale
        difference.at_most(f"{name} differs by", apart, MAPS)
        difference.count += values.size


def _compare_classes(
    found: Outputs, model: Any, x: Tensor, size: tuple[int, int], difference: Difference
) -> None:
    from mmengine.config import ConfigDict
    from mmseg.structures import SegDataSample

    logits = model.decode_head(model.extract_feat(x)).numpy()
    inner = tuple(x.shape[2:])
    meta = {"ori_shape": size, "img_shape": inner, "pad_shape": inner}
    samples = [SegDataSample(metainfo=dict(meta)) for _ in x]
    before, model.test_cfg = model.test_cfg, ConfigDict(mode="whole")
    try:
        samples = model.predict(x, samples)
    finally:
        model.test_cfg = before
    classes = torch.cat([sample.pred_sem_seg.data for sample in samples]).numpy()
    apart = float(np.abs(found["logits"] - logits).max())
    difference.at_most("logits differ by", apart, LOGITS)
    equal = float((found["classes"] == classes).mean())
    difference.at_least("share of equal pixels", equal, PIXELS)
    difference.count += classes.size


def _detections(graph: Graph, model: Any, x: Tensor, size: tuple[int, int]) -> Any:
    from mmdet.structures import DetDataSample

    height, width = x.shape[2:]
    factors = (width / size[1], height / size[0])
    meta = {"img_shape": (height, width), "ori_shape": size, "scale_factor": factors}
    x = graph.network.padded(x)
    samples = [DetDataSample(metainfo={**meta, "pad_shape": tuple(x.shape[2:])})]
    return model.predict(x, samples, rescale=True)[0].pred_instances


def _compare_detections(found: Outputs, expected: Any, model: Any, difference: Difference) -> None:
    mine = SimpleNamespace(
        bboxes=torch.from_numpy(found["boxes"]),
        labels=torch.from_numpy(found["labels"]),
        scores=torch.from_numpy(found["scores"]),
    )
    pairs = partners(mine, expected, _OF_ONE_OBJECT)
    cfg = model.roi_head.test_cfg
    for side, other, paired in (
        (mine.scores, expected.scores, {pair[0] for pair in pairs}),
        (expected.scores, mine.scores, {pair[1] for pair in pairs}),
    ):
        for index in set(range(len(side))) - paired:
            if not _on_an_edge(float(side[index]), other, cfg):
                line = f"a detection of score {float(side[index]):.4f} has no partner"
                difference.failures.append(line)
    difference.count += len(pairs)
    for index, partner in pairs:
        overlap = box_iou(mine.bboxes[index][None], expected.bboxes[partner][None])
        difference.at_least("box IoU", float(overlap), OVERLAP)
        apart = abs(float(mine.scores[index] - expected.scores[partner]))
        difference.at_most("scores differ by", apart, SCORE)
        if "masks" in found:
            reference = expected.masks[partner].numpy()
            cells, box = found["masks"][index], found["boxes"][index]
            mask = paste(cells, box, reference.shape, cfg.mask_thr_binary)
            difference.at_least("mask IoU", _overlap(mask, reference), MASK)


def _on_an_edge(score: float, others: Tensor, cfg: Any) -> bool:
    """Whether rounding decides if a detection of this score is kept: it is as good as the least
    score that the config asks for, or, of as many as it keeps, as the last one."""
    edges = [cfg.score_thr]
    if len(others) >= cfg.max_per_img:
        edges.append(float(others.min()))
    return any(abs(score - edge) <= SCORE for edge in edges)


def _overlap(mask: np.ndarray, other: np.ndarray) -> float:
    union = int((mask | other).sum())
    return int((mask & other).sum()) / union if union else 1.0
