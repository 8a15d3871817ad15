"""Prediction: the backbone alone, a whole detector, and a segmentor's classes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.benchmarks.peers import missing_mmpretrain, mmpretrains, peer_networks
from mmconvnext.benchmarks.recipe_model import recipe_model
from mmconvnext.benchmarks.same_predictions import check_same
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, apart, interleaved
from mmconvnext.inference import optimize_for_inference

TARGET = 0.90
OURS = "mmconvnext, fused"
UNFUSED = "mmdet with our ConvNeXt, not fused"
STOCK = "mmdet with mmpretrain's ConvNeXt"
_PIXELS = 512
_PHOTO = (800, 1216)
_LARGE = (1500, 2000)
_CASCADE = "detection/cascade_convnext_t_coco.py"


def measure(rounds: int = ROUNDS, authors: Path | None = None) -> list[Table]:
    """All tables of this suite; float32, one picture.

    Args:
        rounds: how often each is timed.
        authors: checkout of the authors' repository, whose code is executed.
    """
    tables = [apart(_backbone_table, rounds, authors, compiled=how) for how in (False, True)]
    return [*tables, apart(_detector_table, rounds), *_classes_tables(rounds)]


def _backbones(authors: Path | None) -> tuple[dict[str, nn.Module], list[Row]]:
    """Candidates with the same weights, and those that are not there."""
    network = ConvNeXt("tiny", layer_scale_init_value=0.5).eval()
    found, missing = peer_networks(network, authors=authors)
    return {OURS: optimize_for_inference(network), **found}, missing


@torch.inference_mode()
def _backbone_table(rounds: int, authors: Path | None, *, compiled: bool) -> Table:
    backbones, missing = _backbones(authors)
    x = torch.randn(1, 3, _PIXELS, _PIXELS)
    candidates: dict[str, Callable[[], object]] = {}
    for name, network in backbones.items():
        if compiled:
            network.compile()
        candidates[name] = lambda network=network: network(x)  # type: ignore[misc]
    how = "compiled" if compiled else "eager"
    title = f"ConvNeXt-T forward, 1x3x{_PIXELS}x{_PIXELS}, float32, {how}"
    return Table(title, "s", [*interleaved(candidates, rounds), *missing], (OURS,), TARGET)


@torch.inference_mode()
def _detector_table(rounds: int) -> Table:
    """Against the stock detector; where mmpretrain is missing, against ours as it was trained."""
    from mmdet.structures import DetDataSample

    plain, _ = recipe_model(_CASCADE)
    fast = optimize_for_inference(plain)
    models: dict[str, Any] = {OURS: fast, UNFUSED: plain}
    missing: list[Row] = []
    no_peers: tuple[str, ...] = (OURS,)
    try:
        theirs = mmpretrains(plain.backbone)
    except (ImportError, TypeError) as error:
        missing.append(missing_mmpretrain(STOCK, error))
    else:
        models[STOCK] = copy.deepcopy(plain)
        models[STOCK].backbone = theirs
        no_peers = (OURS, UNFUSED)
    meta = {"img_shape": _PHOTO, "ori_shape": _PHOTO, "scale_factor": (1.0, 1.0)}
    picture = torch.randn(1, 3, *_PHOTO)

    def predict(model: Any) -> Any:
        return model.predict(picture, [DetDataSample(metainfo={**meta, "pad_shape": _PHOTO})])

    expected, *others = (predict(model)[0].pred_instances for model in models.values())
    differences = [
        check_same(found, expected, f"{name}, against {OURS}")
        for name, found in zip(list(models)[1:], others, strict=True)
    ]
    candidates = {name: lambda model=model: predict(model) for name, model in models.items()}
    rows = interleaved(candidates, rounds, warmup=0)  # they have predicted once
    for row, difference in zip(rows[1:], differences, strict=True):
        row.note = f"{difference}"
    height, width = _PHOTO
    title = f"Cascade Mask R-CNN, ConvNeXt-T, one picture of {width}x{height}, float32"
    return Table(title, "s", [*rows, *missing], no_peers, TARGET)


def _classes_tables(rounds: int) -> list[Table]:
    """What follows the head: 150 classes of a 512x512 crop's logits to a picture of 2000x1500."""
    height, width = _LARGE
    title = f"classes of one picture of {width}x{height} from 128x128x150 logits, float32"
    candidates = {name: _classifier(name == OURS) for name in (OURS, "mmseg")}
    times = Table(f"{title}: time", "s", interleaved(candidates, rounds), (OURS,))
    rows = []
    for name in candidates:
        if not Path("/proc/self/clear_refs").exists():
            rows.append(Row(name, note="memory is measured on Linux only"))
            continue
        rows.append(Row(name, [apart(_peak, name == OURS)]))
    return [times, Table(f"{title}: peak memory above the model's", "MiB", rows, (OURS,))]


def _classifier(lean: bool) -> Callable[[], object]:
    """mmseg's segmentor whose backbone and head give out logits and compute nothing."""
    from mmengine.config import ConfigDict
    from mmseg.models.decode_heads import FCNHead
    from mmseg.models.segmentors import EncoderDecoder
    from mmseg.structures import SegDataSample

    from mmconvnext.inference.segmentor import LeanEncoderDecoder

    logits = torch.randn(1, 150, _PIXELS // 4, _PIXELS // 4)

    class Head(FCNHead):
        def forward(self, inputs: object) -> torch.Tensor:
            return logits

    model = EncoderDecoder.__new__(EncoderDecoder)
    nn.Module.__init__(model)
    model.backbone = nn.Identity()
    model.decode_head = Head(in_channels=1, channels=1, num_convs=0, num_classes=150)
    model.align_corners, model.out_channels = False, 150
    model.test_cfg = ConfigDict(mode="whole")
    if lean:
        LeanEncoderDecoder.take_over(model)
    size = (_PIXELS, _PIXELS)
    sample = SegDataSample(metainfo={"ori_shape": _LARGE, "img_shape": size, "pad_shape": size})
    picture = torch.zeros(1, 3, *size)

    def classify() -> object:
        with torch.inference_mode():
            return model.predict(picture, [copy.deepcopy(sample)])

    return classify


def _peak(lean: bool) -> float:
    """In a process of its own: MiB by which the memory rises at most."""
    classify = _classifier(lean)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets what importing took
    classify()
    return _resident("VmHWM") - before


def _resident(which: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1024
