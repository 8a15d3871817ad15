"""The same detector and segmentor with one backbone after the other: parameters, operations, memory
and pace, beside what was published of them. All weights are random: none of that depends on them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmconvnext.benchmarks.network_models import (
    Network,
    NoPyramidError,
    build_empty,
    build_random,
    config_of,
    network,
)
from mmconvnext.benchmarks.published import UPERNET, Published, published_rows
from mmconvnext.benchmarks.timing import interleaved
from mmconvnext.evaluation.complexity import count_complexity, samples_of
from mmconvnext.evaluation.elementwise import counting_elementwise
from mmconvnext.evaluation.training_memory import GIB, count_training_memory

COCO_SHAPE = (800, 1280)  # at which the papers count detectors


@dataclass(frozen=True)
class NetworkRow:
    """A backbone in a detector or segmentor; None: not counted, not timed or not published.

    Args:
        method: the detector or segmentor.
        network: the backbone's name.
        family: what it is a kind of.
        shape: height and width at which operations were counted.
        params: of the whole, in millions.
        gflops: 10^9 operations, counted as the papers do.
        kept_gib: kept for the backward pass of one picture, in fp32.
        images_per_second: one at a time.
        published: the row of a paper's table.
        note: why nothing was counted.
    """

    method: str
    network: str
    family: str
    shape: tuple[int, int] | None = None
    params: float | None = None
    gflops: float | None = None
    kept_gib: float | None = None
    images_per_second: float | None = None
    published: Published | None = None
    note: str = ""

    @property
    def equals(self) -> bool | None:
        """Whether parameters and operations are the printed ones when rounded as they are; None:
        none were printed."""
        if self.published is None or self.params is None or self.gflops is None:
            return None
        printed = (self.published.params, self.published.gflops)
        pairs = zip((self.params, self.gflops), printed, strict=True)
        told = [round(found) == count for found, count in pairs if count is not None]
        return all(told) if told else None


def measure(
    methods: Sequence[str],
    words: Sequence[str],
    rounds: int,
    size: int,
    timed: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> list[NetworkRow]:
    """A row for each published figure of each backbone, or one without.

    Args:
        methods: detectors and segmentors by their names.
        words: backbones by their words on the command line.
        rounds: how often each is timed.
        size: height and width of the picture that is timed.
        timed: whether to time at all; that needs memory for the weights.
        tell: is given a line on what is done now.
    """
    rows: list[NetworkRow] = []
    with _in_silence():
        for method in methods:
            found = [_counted(method, network(word), word, tell) for word in words]
            if timed:
                found = _with_pace(method, words, found, rounds, size, tell)
            rows += [row for of_network in found for row in of_network]
    return rows


def _counted(
    method: str, backbone: Network, word: str, tell: Callable[[str], None]
) -> list[NetworkRow]:
    tell(f"{method} with {backbone.name}: counting")
    bare = NetworkRow(method, backbone.name, backbone.family)
    published: Sequence[Published | None] = published_rows(method, word) or [None]
    rows: list[NetworkRow] = []
    for figures in published:
        crop = figures.crop if figures else 512
        shape = (crop, 4 * crop) if method == UPERNET else COCO_SHAPE
        alike = next((row for row in rows if row.shape == shape), None)
        try:
            row = alike or replace(bare, **_counts(config_of(method, backbone, crop), shape))
        except NoPyramidError as error:
            return [replace(bare, note=str(error))]
        rows.append(replace(row, published=figures))
    return rows


def _counts(cfg: Config, shape: tuple[int, int]) -> dict[str, Any]:
    model = build_empty(cfg)
    with counting_elementwise(model) as elementwise:
        found = count_complexity(model, shape)
    trained = (shape[0], shape[0]) if hasattr(model, "decode_head") else shape
    (kept,) = count_training_memory(model, trained, modes=[None], precisions=[False]).kept
    return {
        "shape": shape,
        "params": found.params / 1e6,
        "gflops": (found.macs + elementwise()) / 1e9,
        "kept_gib": kept.each / GIB,
    }


def _with_pace(
    method: str,
    words: Sequence[str],
    found: list[list[NetworkRow]],
    rounds: int,
    size: int,
    tell: Callable[[str], None],
) -> list[list[NetworkRow]]:
    """Time all backbones of a method that could be built, in turns."""
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    candidates: dict[str, Callable[[], object]] = {}
    for word, rows in zip(words, found, strict=True):
        if not rows[0].note:
            tell(f"{method} with {rows[0].network}: building")
            model = build_random(config_of(method, network(word)))
            candidates[word] = partial(_predict, model, image)
    tell(f"{method}: timing {len(candidates)} networks, {rounds} rounds")
    paces = {row.name: 1 / row.median for row in interleaved(candidates, rounds)}
    return [
        [replace(row, images_per_second=paces.get(word)) for row in rows]
        for word, rows in zip(words, found, strict=True)
    ]


@torch.inference_mode()
def _predict(model: nn.Module, image: torch.Tensor) -> None:
    model(image, data_samples=samples_of(model, image), mode="predict")


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without the hosts' advice on training, which does not follow."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
