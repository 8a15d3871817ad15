"""The fast COCO metric against mmdet's own."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmdet.evaluation.metrics import CocoMetric
from mmengine.registry import METRICS, DefaultScope
from sample_coco import CLASSES, NAMES, both, figures, findings

from mmconvnext.evaluation.coco_metric import FastCocoMetric


@pytest.mark.parametrize(
    "kwargs",
    [
        {"metric": "bbox"},
        {"metric": ["bbox", "segm"], "classwise": True},
        {"metric": ["proposal", "bbox"]},
        {"metric": ["segm"], "proposal_nums": (1, 10, 100)},
        {"metric": ["bbox"], "proposal_nums": (2, 4, 6), "classwise": True},
        {"metric": "bbox", "iou_thrs": np.array([0.5, 0.6, 0.75]), "proposal_nums": (1, 10, 100)},
        {"metric": ["bbox", "segm"], "metric_items": ["mAP_m", "AR@300", "AR_l@1000"]},
        {"metric": "proposal", "metric_items": ["AR@100", "mAP"]},
        {"metric": "bbox", "use_mp_eval": True, "prefix": "mine"},
    ],
    ids=str,
)
def test_figures_and_names_are_mmdets(truth, kwargs):
    made, file = truth
    found = both(findings(made), ann_file=file, **kwargs)
    assert any(0.01 < value < 0.99 for value in found.values())


def test_figures_with_more_detections_than_a_hundred_a_picture(truth):
    made, file = truth
    results = findings(made, per_image=260)[:12]
    assert max(len(found["labels"]) for _, found in results) > 200
    found = both(results, ann_file=file, metric=["bbox", "proposal"])
    assert found["AR@100"] < found["AR@300"]


def test_only_some_of_the_files_classes(truth):
    made, file = truth
    results = findings(made)
    for _, found in results:
        kept = found["labels"] < 3
        found["masks"] = [mask for mask, keep in zip(found["masks"], kept, strict=True) if keep]
        for name in ("bboxes", "scores", "labels", "mask_scores"):
            found[name] = found[name][kept]
    both(results, ann_file=file, metric=["bbox", "segm"], classwise=True, classes=NAMES[:3])


def test_annotation_numbered_0_counts_as_with_pycocotools(truth, tmp_path):
    made = copy.deepcopy(truth[0])
    for annotation in made["annotations"]:
        annotation["id"] -= 1
    made["annotations"][0]["id"] = 0
    file = tmp_path / "zero.json"
    file.write_text(json.dumps(made))
    with pytest.warns(UserWarning, match="annotation id 0"):
        both(findings(made), ann_file=str(file), metric="bbox")


def test_classes_keep_their_figures_when_category_ids_do_not_rise(truth, tmp_path):
    made, file = truth
    results = findings(made)
    expected = figures(CocoMetric, results, ann_file=file, classwise=True)
    turned = {**made, "categories": made["categories"][::-1]}
    (tmp_path / "turned.json").write_text(json.dumps(turned))
    for _, found in results:  # labels follow the file
        found["labels"] = CLASSES - 1 - found["labels"]
    found = figures(
        FastCocoMetric,
        results,
        ann_file=str(tmp_path / "turned.json"),
        classwise=True,
        classes=NAMES[::-1],
    )
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, nan_ok=True), name


def test_no_findings_at_all(truth):
    made, file = truth
    results = [
        (
            picture,
            {
                **found,
                "bboxes": np.zeros((0, 4), np.float32),
                "scores": np.zeros(0, np.float32),
                "labels": np.zeros(0, np.int64),
                "masks": [],
            },
        )
        for picture, found in findings(made)
    ]
    assert both(results, ann_file=file, metric=["bbox", "segm"]) == {}


def test_findings_without_any_annotation(truth, tmp_path):
    made, _ = truth
    file = tmp_path / "empty.json"
    file.write_text(json.dumps({**made, "annotations": []}))
    found = both(findings(made), ann_file=str(file), metric=["bbox", "segm"])
    assert set(found.values()) == {-1.0}


def test_overlaps_given_as_a_list_or_a_number(truth):
    """mmdet documents both; with NumPy 2 its own fails on them."""
    made, file = truth
    results = findings(made)
    whole = figures(FastCocoMetric, results, ann_file=file)
    found = figures(FastCocoMetric, results, ann_file=file, iou_thrs=0.5)
    assert found["bbox_mAP"] == found["bbox_mAP_50"] == whole["bbox_mAP_50"] > 0.1
    found = figures(FastCocoMetric, results, ann_file=file, iou_thrs=[0.5, 0.75])
    assert found["bbox_mAP_75"] == whole["bbox_mAP_75"]


def test_files_are_written_where_asked(truth, tmp_path):
    made, file = truth
    results = findings(made)
    kwargs = dict(ann_file=file, metric=["bbox", "segm"])
    found = {}
    for kind in (CocoMetric, FastCocoMetric):
        prefix = str(tmp_path / kind.__name__)
        found[kind] = figures(kind, results, outfile_prefix=prefix, **kwargs)
        assert figures(kind, results, outfile_prefix=prefix, format_only=True, **kwargs) == {}
    assert found[CocoMetric] == found[FastCocoMetric]
    for part in ("bbox", "segm"):
        first, second = (tmp_path / f"{kind.__name__}.{part}.json" for kind in found)
        assert json.loads(first.read_text()) == json.loads(second.read_text())


def test_masks_not_predicted(truth):
    made, file = truth
    results = findings(made)
    for _, found in results:
        del found["masks"]
    with pytest.raises(KeyError, match="segm is not in results"):
        figures(FastCocoMetric, results, ann_file=file, metric=["bbox", "segm"])


def test_predictions_of_a_foreign_picture(truth):
    made, file = truth
    results = findings(made)
    results[0][1]["img_id"] = 4711
    with pytest.raises(ValueError, match=r"picture 4711 is not in the annotation file"):
        figures(FastCocoMetric, results, ann_file=file)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"metric": "box"}, KeyError, "metric should be one of"),
        ({"metric_items": ["AP"]}, KeyError, "metric item 'AP': expected some of mAP"),
        ({"proposal_nums": (100,)}, ValueError, "takes three or more, found \\[100\\]"),
    ],
)
def test_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        FastCocoMetric(**kwargs)


def test_without_faster_coco_eval_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match="pip install faster-coco-eval, or take mmdet's own"):
        FastCocoMetric()


def test_configs_name_it_with_this_packages_scope(truth):
    with DefaultScope.overwrite_default_scope("mmdet"):
        metric = METRICS.build({"type": "mmconvnext.FastCocoMetric", "ann_file": truth[1]})
    assert type(metric) is FastCocoMetric


def test_it_needs_no_mmseg(tmp_path: Path):
    """In a process of its own: mmseg may have been imported in this one."""
    code = (
        "import sys; sys.modules['mmseg'] = None; import mmconvnext; "
        "from mmengine.registry import METRICS; "
        "print(type(METRICS.build(dict(type='mmconvnext.FastCocoMetric'))).__name__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.stdout.strip().endswith("FastCocoMetric"), answer.stderr[-500:]


@pytest.mark.parametrize("kind", [lambda number: f"picture {number}", float])
def test_ids_of_pictures_that_are_no_whole_numbers(truth, tmp_path, kind):
    """faster-coco-eval takes whole numbers alone; found by fuzzing."""
    made, _ = copy.deepcopy(truth)
    results = findings(made)
    for image in made["images"]:
        image["id"] = kind(image["id"])
    for annotation in made["annotations"]:
        annotation["image_id"] = kind(annotation["image_id"])
        annotation["id"] = str(annotation["id"])
    for sample in results:
        for part in sample:
            part["img_id"] = kind(part["img_id"])
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(made))
    found = both(results, ann_file=str(file), metric=["bbox", "segm"], classwise=True)
    assert any(0.01 < value < 0.99 for value in found.values())
