"""Other backbones in the same detector and segmentor, against the figures that the papers print.

The figures stand here apart from the module's own table: Swin (arXiv:2103.14030, table 2, and its
README), ConvNeXt (arXiv:2201.03545, tables 3 and 4).
"""

from __future__ import annotations

import csv
import sys
from io import StringIO

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.benchmarks import networks
from mmconvnext.benchmarks.network_models import (
    DEFAULT,
    METHODS,
    NETWORKS,
    NoPyramidError,
    build_empty,
    config_of,
    network,
)
from mmconvnext.benchmarks.network_tables import COLUMNS, as_csv, page, table, verdict
from mmconvnext.benchmarks.networks import NetworkRow, measure
from mmconvnext.benchmarks.published import CASCADE, MASK_RCNN, UPERNET, published_rows
from mmconvnext.evaluation.complexity import count_complexity
from mmconvnext.evaluation.elementwise import counting_elementwise

# Parameters (M) and GFLOPs, as printed.
PRINTED = {
    (MASK_RCNN, "swin-t"): (48, 267),
    (MASK_RCNN, "swin-s"): (69, 359),
    (MASK_RCNN, "convnext-t"): (48, 262),
    (CASCADE, "resnet50"): (82, 739),
    (CASCADE, "resnext101-32x4d"): (101, 819),
    (CASCADE, "resnext101-64x4d"): (140, 972),
    (CASCADE, "swin-t"): (86, 745),
    (CASCADE, "swin-s"): (107, 838),
    (CASCADE, "swin-b"): (145, 982),
    (CASCADE, "convnext-t"): (86, 741),
    (CASCADE, "convnext-s"): (108, 827),
    (CASCADE, "convnext-b"): (146, 964),
    (UPERNET, "resnet101"): (86, 1029),
    (UPERNET, "swin-t"): (60, 945),
    (UPERNET, "swin-s"): (81, 1038),
    (UPERNET, "swin-b"): (121, 1188),
    (UPERNET, "convnext-t"): (60, 939),
    (UPERNET, "convnext-s"): (82, 1027),
}


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for the backward pass takes most of the time, and is tested elsewhere."""

    def count(model: object, shape: object, **_: object) -> object:
        kept = type("Kept", (), {"each": 2**30})
        return type("Found", (), {"kept": (kept,)})

    monkeypatch.setattr(networks, "count_training_memory", count)


def rows_of(method: str, *words: str) -> list[NetworkRow]:
    return measure([method], words, rounds=1, size=64, timed=False)


@pytest.mark.parametrize(("method", "word"), PRINTED)
def test_parameters_and_operations_are_the_printed_ones(
    method: str, word: str, without_memory: None
) -> None:
    rows = [row for row in rows_of(method, word) if row.equals is not None]
    assert rows
    params, gflops = PRINTED[method, word]
    assert rows[0].params is not None and rows[0].gflops is not None
    assert (round(rows[0].params), round(rows[0].gflops)) == (params, gflops)
    assert rows[0].equals is True
    assert rows[0].published is not None
    assert rows[0].published.gflops == gflops
    assert rows[0].published.params in (params, None)


@pytest.mark.parametrize(
    ("method", "shape", "printed"),
    [(CASCADE, networks.COCO_SHAPE, 1382), (UPERNET, (640, 2560), 2468)],
)
def test_swin_l_was_printed_without_the_products_of_attention(
    method: str, shape: tuple[int, int], printed: int
) -> None:
    model = build_empty(config_of(method, network("swin-l"), 640))
    with counting_elementwise(model) as elementwise, FlopCounterMode(display=False) as counter:
        found = count_complexity(model, shape).macs + elementwise()
    operators = counter.get_flop_counts()["Global"].items()
    products = sum(count for operator, count in operators if "bmm" in str(operator)) // 2
    (row,) = published_rows(method, "swin-l")
    assert row.gflops == printed and row.remark
    assert round((found - products) / 1e9) == printed < found / 1e9 - 9


def test_rows_of_one_network_share_what_was_counted(without_memory: None) -> None:
    first, second = rows_of(CASCADE, "resnext101-32x4d", "convnext-b")[1:]
    assert first.published is not None and second.published is not None
    assert (first.published.pretraining, second.published.pretraining) == (
        "ImageNet-1K",
        "ImageNet-22K",
    )
    assert (first.published.accuracy, second.published.accuracy) == (52.7, 54.0)
    assert (first.params, first.gflops) == (second.params, second.gflops)


def test_every_published_network_can_be_named() -> None:
    named = {word for word in DEFAULT if not word.startswith("timm:")}
    assert named <= set(NETWORKS)
    found = [published_rows(method, word) for method in METHODS.values() for word in NETWORKS]
    assert sum(map(len, found)) == 40
    assert all(rows for rows in (published_rows(CASCADE, "convnext-xl"), found[0]))


def test_a_network_of_timm_gives_its_last_four_maps(without_memory: None) -> None:
    pytest.importorskip("timm")
    (row,) = rows_of(MASK_RCNN, "timm:tf_efficientnetv2_s")
    assert row.params == pytest.approx(39.89, abs=0.01) and row.published is None
    settings, channels = network("timm:tf_efficientnetv2_s").backbone(MASK_RCNN)
    assert settings["out_indices"] == (1, 2, 3, 4) and channels == [48, 64, 160, 256]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("timm:vit_tiny_patch16_224", "maps have stride 16, expected 4, 8, 16 and 32"),
        ("timm:no_such_network", "has no network of that name"),
    ],
)
def test_what_has_no_pyramid_is_told_in_its_row(word: str, reason: str) -> None:
    pytest.importorskip("timm")
    (row,) = rows_of(UPERNET, word)
    assert reason in row.note and row.params is None and row.images_per_second is None


def test_without_timm_the_row_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    (row,) = rows_of(CASCADE, "timm:resnet18")
    assert row.note == "timm is not installed; `pip install timm` gives this row"
    with pytest.raises(NoPyramidError):
        config_of(CASCADE, network("timm:resnet18"))


def test_page_and_csv_show_what_differs(without_memory: None) -> None:
    rows = rows_of(MASK_RCNN, "resnet50", "resnext101-64x4d")
    assert verdict(rows) == (
        "Parameters and GFLOPs equal the printed ones, rounded as they are, in 1 of 2 rows that a "
        "paper prints; not in: Mask R-CNN ResNeXt-101-64x4d at 1280x800."
    )
    text = "\n".join(page(rows, "mmconvnext benchmark networks", "a machine", 5, 320))
    assert "| ResNet-50 | ImageNet-1K | 44.40 | 260.1 | 1.00 | 41.0 | 37.1 |" in text
    assert "| 102.29 (101) | 493.4 |" in text and "Nothing was timed" in text
    assert table(rows)[0][-1] == "mask AP"
    first, second = csv.DictReader(StringIO(as_csv(rows)))
    assert tuple(first) == COLUMNS
    assert float(first["gflops"]) == pytest.approx(260.139, abs=0.01)
    assert (second["published_params_m"], second["images_per_second"]) == ("101", "")
    assert (first["source"], first["height"]) == ("mvit", "800")


def test_detectors_and_segmentors_are_timed_by_predicting(without_memory: None) -> None:
    state = torch.get_rng_state()
    rows = measure([MASK_RCNN, UPERNET], ["resnet50"], rounds=1, size=64)
    assert all(row.images_per_second for row in rows)
    text = "\n".join(page(rows, "a command", "a machine", 1, 64))
    assert "one picture of 64x64, predicting" in text and "img/s" in text
    assert torch.equal(torch.get_rng_state(), state)
