"""The fast mIoU metric against mmseg's own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, DefaultScope
from mmseg.evaluation.metrics import IoUMetric
from PIL import Image

from mmconvnext.benchmarks.made_up_results import class_maps
from mmconvnext.evaluation.iou_metric import FastIoUMetric

CLASSES = 7


def samples(count: int = 5, **changes) -> list[dict]:
    """Maps of different sizes; class 6 is nowhere."""
    made = []
    for index in range(count):
        sample = class_maps(1, CLASSES - 1, (40 + index, 60), seed=index)[0]
        made.append({**sample, "img_path": f"{index}.jpg", **changes})
    return made


def run(kind: type, made: list[dict], classes: int = CLASSES, **kwargs) -> tuple[dict, object]:
    metric = kind(**kwargs)
    metric.dataset_meta = {"classes": tuple(f"class {index}" for index in range(classes))}
    for start in range(0, len(made), 2):
        metric.process({}, made[start : start + 2])
    return metric.evaluate(size=len(made)), metric


def both(made: list[dict], **kwargs) -> dict:
    """The fast metric's figures, once they are found to be mmseg's."""
    expected, _ = run(IoUMetric, made, **kwargs)
    found, _ = run(FastIoUMetric, made, **kwargs)
    assert list(found) == list(expected)
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    return found


def counts(predicted: torch.Tensor, true: torch.Tensor, classes: int, ignored: int = 255):
    """Both ways of counting a picture, once they are found equal to the last bit."""
    expected = IoUMetric.intersect_and_union(predicted, true, classes, ignored)
    found = FastIoUMetric.intersect_and_union(predicted, true, classes, ignored)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    return found


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"iou_metrics": ["mIoU", "mDice", "mFscore"]},
        {"iou_metrics": ["mFscore"], "beta": 2, "prefix": "mine"},
        {"iou_metrics": "mDice", "nan_to_num": 0},
        {"ignore_index": 3},
        {"ignore_index": 0, "nan_to_num": -1},
    ],
    ids=str,
)
def test_figures_and_names_are_mmsegs(kwargs):
    found = both(samples(), **kwargs)
    assert any(10 < value < 99 for value in found.values())


def test_one_number_of_a_class_more_or_less_shows():
    made = samples()
    expected, _ = run(IoUMetric, made)
    made[0]["pred_sem_seg"]["data"][:, :10] = 2
    found, _ = run(FastIoUMetric, made)
    assert found != expected


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32])
@pytest.mark.parametrize("ignored", [255, 2, 0])
def test_counts_are_mmsegs_with_numbers_that_are_no_class(dtype, ignored):
    generator = torch.Generator().manual_seed(0)
    strange = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 49, 254, 255])
    predicted, true = (
        strange[torch.randint(len(strange), (31, 47), generator=generator)].to(dtype)
        for _ in range(2)
    )
    intersection, *_ = counts(predicted, true, CLASSES, ignored)
    assert intersection.sum() > 0


def test_counts_are_mmsegs_with_negative_numbers():
    predicted = torch.arange(-3, 9).repeat(4, 1)
    true = torch.arange(-3, 9).repeat(4, 1).roll(1, 1)
    true[2:] = predicted[2:]
    counts(predicted, true, CLASSES)
    counts(predicted, true, CLASSES, ignored=-1)


@pytest.mark.parametrize("classes", [1, 2, 150, 1000])
def test_counts_are_mmsegs_with_any_number_of_classes(classes):
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.randint(classes, (2, 50, 60), generator=generator)
    counts(predicted, true, classes)


def test_counts_are_mmsegs_with_fractions():
    predicted = torch.linspace(0, 6, 120).view(10, 12)
    counts(predicted, predicted.round(), CLASSES)


def test_counts_of_pictures_without_a_pixel_that_counts():
    ignored = torch.full((4, 5), 255)
    assert sum(part.sum() for part in counts(ignored * 0, ignored, CLASSES)) == 0
    counts(torch.zeros(0, 5).long(), torch.zeros(0, 5).long(), CLASSES)


def test_a_picture_leaves_four_rows_of_counts():
    _, metric = run(FastIoUMetric, samples(1))
    metric.process({}, samples(3))
    assert len(metric.results) == 3
    for rows in metric.results:
        assert [row.shape for row in rows] == [(CLASSES,)] * 4
        # Views of larger storages would travel between processes as a whole.
        assert all(row.untyped_storage().nbytes() == 4 * CLASSES for row in rows)


def test_padding_of_the_last_batch_is_cut():
    """Several processes see some pictures twice; mmengine cuts the results to the data set's."""
    made = samples(4)
    metrics = []
    for kind in (IoUMetric, FastIoUMetric):
        metric = kind()
        metric.dataset_meta = {"classes": tuple("abcdefg")}
        metric.process({}, [*made, made[0]])
        metrics.append(metric.evaluate(size=4))
    assert metrics[0] == metrics[1] == run(IoUMetric, made)[0]


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_maps_are_written_where_asked(tmp_path, reduce_zero_label):
    made = samples(2, reduce_zero_label=reduce_zero_label)
    for kind in (IoUMetric, FastIoUMetric):
        folder = str(tmp_path / kind.__name__)
        assert run(kind, made, output_dir=folder, format_only=True)[0] == {}
    for name in ("0.png", "1.png"):
        one, other = (tmp_path / kind.__name__ / name for kind in (IoUMetric, FastIoUMetric))
        assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


def test_configs_name_it_with_this_packages_scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        metric = METRICS.build({"type": "mmconvnext.FastIoUMetric", "iou_metrics": ["mDice"]})
    assert type(metric) is FastIoUMetric
    assert metric.metrics == ["mDice"]


def test_it_needs_no_mmdet_and_without_mmseg_says_so(tmp_path):
    """In a process of its own: both may have been imported in this one."""
    code = (
        "import sys; sys.modules['mmdet'] = None; import mmconvnext; "
        "from mmengine.registry import METRICS; "
        "print(type(METRICS.build(dict(type='mmconvnext.FastIoUMetric'))).__name__)\n"
        "try: METRICS.build(dict(type='mmconvnext.FastCocoMetric'))\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    built, refused = answer.stdout.strip().splitlines()[-2:]
    assert built == "FastIoUMetric", answer.stderr[-500:]
    assert refused.startswith("ImportError mmconvnext.FastCocoMetric"), refused
