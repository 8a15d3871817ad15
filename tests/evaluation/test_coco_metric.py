"""The fast COCO metric against mmdet's own, and its evaluation against pycocotools'."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.metrics import CocoMetric
from mmdet.structures.mask import encode_mask_results
from mmengine.registry import METRICS, DefaultScope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmconvnext.benchmarks.made_up_results import SIZE, coco_annotations, coco_predictions
from mmconvnext.evaluation import coco_eval
from mmconvnext.evaluation.coco_eval import (
    FastCOCOeval,
    as_coco,
    index_annotations,
    index_detections,
)
from mmconvnext.evaluation.coco_metric import FastCocoMetric
from mmconvnext.evaluation.mask_coding import PackedMasks, encode_masks
from mmconvnext.evaluation.proposals import proposal_recalls

CLASSES = 6
NAMES = tuple(f"class {index}" for index in range(CLASSES))


def annotations(images: int = 40) -> dict:
    """Pictures without annotations, crowds, an "ignore" flag, and a class without annotations."""
    made = coco_annotations(images, CLASSES, per_image=5)
    kept = [
        annotation
        for annotation in made["annotations"]
        if annotation["category_id"] != 2 * CLASSES - 1 and annotation["image_id"] not in (3, 4)
    ]
    for annotation in kept[::9]:
        annotation["iscrowd"] = 1
    kept[1]["ignore"] = 1
    made["annotations"] = kept
    return made


def findings(truth: dict, per_image: int = 30) -> list[tuple[dict, dict]]:
    """Many equal scores, a class and pictures without findings, masks' own scores."""
    results = coco_predictions(truth, per_image)
    for _, found in results:
        kept = (found["labels"] != 0) & (found["img_id"] % 7 != 3)
        found["masks"] = [mask for mask, keep in zip(found["masks"], kept, strict=True) if keep]
        for name in ("bboxes", "scores", "labels"):
            found[name] = found[name][kept]
        found["scores"] = found["scores"].round(1)
        found["mask_scores"] = (found["scores"] * 0.7 + 0.1).round(2)
    return results


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> tuple[dict, str]:
    made = annotations()
    file = tmp_path_factory.mktemp("coco") / "instances.json"
    file.write_text(json.dumps(made))
    return made, str(file)


def figures(kind: type, results: list, classes: tuple[str, ...] = NAMES, **kwargs) -> dict:
    metric = kind(**kwargs)
    metric.dataset_meta = {"classes": classes}
    return metric.compute_metrics(copy.deepcopy(results))


def both(results: list, **kwargs) -> dict:
    """The fast metric's figures, once they are found to be mmdet's."""
    expected = figures(CocoMetric, results, **kwargs)
    found = figures(FastCocoMetric, results, **kwargs)
    assert list(found) == list(expected)
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    return found


def evaluations(
    made: dict, results: list, kind: str, **params: object
) -> tuple[COCOeval, FastCOCOeval]:
    ids = [category["id"] for category in made["categories"]]
    found = list(as_coco((found for _, found in results), ids, masks=kind == "segm"))
    peer = COCO()
    peer.dataset = copy.deepcopy(made)
    peer.createIndex()
    indexed = index_annotations(copy.deepcopy(made))
    pair = (
        COCOeval(peer, peer.loadRes(copy.deepcopy(found)), kind),
        FastCOCOeval(indexed, index_detections(indexed, found), kind),
    )
    for evaluation in pair:
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return pair


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"maxDets": [100, 300, 1000]},
        {"maxDets": [3, 5, 7]},
        {"maxDets": [7, 100, 3]},
        {"useCats": 0},
        {"useCats": 0, "maxDets": [1, 4, 100]},
        {"iouThrs": np.array([0.5, 0.75])},
        {"imgIds": [5, 1, 2, 30, 1], "catIds": [7, 1]},
    ],
    ids=str,
)
def test_every_number_is_pycocotools(truth, kind, params):
    made, _ = truth
    expected, found = evaluations(made, findings(made), kind, **copy.deepcopy(params))
    for name in ("precision", "recall", "scores"):
        assert found.eval[name].shape == expected.eval[name].shape
        np.testing.assert_allclose(found.eval[name], expected.eval[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.stats, expected.stats, rtol=0, atol=1e-12)
    assert found.stats.shape == (12,)
    assert 0.02 < found.eval["precision"].max() <= 1


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


def test_fast_recall_of_proposals_is_mmdets(truth, tmp_path):
    """NumPy 2 lets mmdet's own count only where all pictures have equally many boxes."""
    made = copy.deepcopy(truth[0])
    by_image: dict[int, list] = {}
    for annotation in made["annotations"]:
        annotation["iscrowd"] = 0
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    equal = [there[:3] for there in by_image.values() if len(there) >= 3]
    made["annotations"] = [annotation for there in equal for annotation in there]
    made["images"] = [made["images"][there[0]["image_id"]] for there in equal]
    file = tmp_path / "equal.json"
    file.write_text(json.dumps(made))
    results = coco_predictions(made, 12)
    kwargs = dict(ann_file=str(file), metric="proposal_fast")
    found = both(results, proposal_nums=(2, 5, 10), **kwargs)
    assert 0.1 < found["AR@2"] < found["AR@5"] < found["AR@10"] < 1
    assert list(both(results, proposal_nums=(10,), iou_thrs=np.array([0.6]), **kwargs)) == ["AR@10"]


def test_fast_recall_of_proposals_with_unequal_pictures():
    truth = [
        np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[5, 5, 9, 9]], np.float32),
    ]
    proposals = [np.array([[0, 0, 10, 9]]), np.array([[1, 1, 2, 2]] * 3), np.zeros((0, 4))]
    # One proposal reaches one of two, at 0.9; nothing was proposed in the third picture.
    found = proposal_recalls(truth, proposals, [1, 2], np.array([0.5, 0.89, 0.95]))
    assert found == pytest.approx([2 / 9, 2 / 9])
    assert np.isnan(proposal_recalls(truth[1:2], proposals[1:2], [1], np.array([0.5]))).all()


def test_proposal_fast_skips_what_does_not_count(truth):
    made, file = truth
    ignored = sum(bool(a["iscrowd"] or a.get("ignore")) for a in made["annotations"])
    perfect = [
        (
            {},
            {
                "img_id": image["id"],
                "bboxes": np.array(
                    [
                        _corners(a["bbox"])
                        for a in made["annotations"]
                        if a["image_id"] == image["id"] and not (a["iscrowd"] or a.get("ignore"))
                    ]
                ).reshape(-1, 4),
                "labels": np.zeros(0),
            },
        )
        for image in made["images"]
    ]
    assert ignored > 5
    found = figures(FastCocoMetric, perfect, ann_file=file, metric="proposal_fast")
    assert found["AR@100"] == 1


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


def as_samples(made: dict, results: list, masks: bool = True) -> list[dict]:
    """What an evaluator hands over, with the annotations that the data set read."""
    samples = []
    for picture, found in results:
        there = [a for a in made["annotations"] if a["image_id"] == found["img_id"]]
        instances = {name: torch.from_numpy(found[name]) for name in ("bboxes", "scores", "labels")}
        if masks:
            instances["masks"] = torch.from_numpy(_bitmaps(found["masks"]))
        samples.append(
            {
                "img_id": found["img_id"],
                "ori_shape": (picture["height"], picture["width"]),
                "pred_instances": instances,
                "instances": [
                    {
                        "bbox_label": annotation["category_id"] // 2,
                        "bbox": _corners(annotation["bbox"]),
                        "ignore_flag": annotation["iscrowd"],
                        "mask": annotation["segmentation"],
                    }
                    for annotation in there
                ],
            }
        )
    return samples


def _bitmaps(coded: list[dict]) -> np.ndarray:
    from pycocotools import mask as rle

    if not coded:
        return np.zeros((0, *SIZE), bool)
    return rle.decode(coded).transpose(2, 0, 1).astype(bool)


def _corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("limits", [{"_DETECTIONS": 400}, {"_PLACES": 2 * 40}, {"_PLACES": 1}])
def test_a_few_classes_at_a_time_give_the_same_numbers(truth, kind, limits, monkeypatch):
    made, _ = truth
    results = findings(made)
    expected, whole = evaluations(made, results, kind, maxDets=[1, 10, 100])
    for name, value in limits.items():
        monkeypatch.setattr(coco_eval, name, value)
    ids = [category["id"] for category in made["categories"]][::-1]
    predictions = [{**found, "labels": CLASSES - 1 - found["labels"]} for _, found in results]
    groups = list(coco_eval._groups(predictions, ids, 40))
    assert 1 < len(groups) <= CLASSES and [*chain(*groups)] == ids[::-1]
    found = coco_eval.evaluate_in_groups(
        index_annotations(copy.deepcopy(made)),
        predictions,
        ids,
        kind,
        {"imgIds": [image["id"] for image in made["images"]], "maxDets": [1, 10, 100]},
    )
    found.summarize()
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(found.eval[name], whole.eval[name])
        np.testing.assert_allclose(found.eval[name], expected.eval[name], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.stats, whole.stats)
    assert found.params.catIds == whole.params.catIds


def test_detections_of_some_categories_only(truth):
    made, _ = truth
    ids = [category["id"] for category in made["categories"]]
    results = [found for _, found in findings(made)]
    for masks in (False, True):
        every = list(as_coco(results, ids, masks))
        wanted = [found for found in every if found["category_id"] in ids[1:3]]
        assert list(as_coco(results, ids, masks, ids[1:3])) == wanted
        assert 0 < len(wanted) < len(every)


@pytest.mark.parametrize("with_file", [True, False])
def test_from_samples_to_figures(truth, with_file):
    made, file = truth
    samples = as_samples(made, findings(made)[:8])
    found = []
    for kind in (CocoMetric, FastCocoMetric):
        metric = kind(ann_file=file if with_file else None, metric=["bbox", "segm", "proposal"])
        metric.dataset_meta = {"classes": NAMES}
        for start in range(0, 8, 3):
            metric.process({}, samples[start : start + 3])
        found.append([metric.evaluate(size=8), metric])
        metric.process({}, samples[:8])  # the next epoch
        found[-1].append(metric.evaluate(size=8))
    (first, _, first_again), (second, _, second_again) = found
    assert first == second
    assert first_again == second_again
    assert first["coco/segm_mAP_50"] > 0.05


def test_processing_leaves_the_samples_alone(truth):
    made, file = truth
    sample = as_samples(made, findings(made)[:1])[0]
    before = sample["pred_instances"]["masks"]
    metric = FastCocoMetric(ann_file=file, metric="segm")
    metric.process({}, [sample])
    assert sample["pred_instances"]["masks"] is before
    assert isinstance(metric.results[0][1]["masks"][0]["counts"], bytes)


def test_what_is_kept_of_a_picture_is_little_more_than_its_run_lengths(truth):
    made, file = truth
    samples = as_samples(made, findings(made)[:3])
    metric = FastCocoMetric(ann_file=file, metric="segm")
    first = samples[0]["pred_instances"]
    wide = torch.zeros(1000, 5)  # heads return views of all that they looked at
    wide[: len(first["bboxes"]), :4] = first["bboxes"]
    first["bboxes"] = wide[: len(first["bboxes"]), :4]
    metric.process({}, samples)
    for (_, kept), sample in zip(metric.results, samples, strict=True):
        instances = sample["pred_instances"]
        assert list(kept["masks"]) == encode_masks(instances["masks"])
        assert np.array_equal(kept["bboxes"], instances["bboxes"].numpy())
        assert all(kept[name].base is None for name in ("bboxes", "scores", "labels"))
        counts = sum(len(mask["counts"]) for mask in kept["masks"])
        assert len(pickle.dumps(kept["masks"])) < counts + 4 * len(kept["masks"]) + 300


def test_masks_in_a_buffer_read_as_the_list_they_were():
    masks = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    coded = encode_masks(masks)
    packed = pickle.loads(pickle.dumps(PackedMasks(coded)))
    assert list(packed) == coded and len(packed) == 3
    assert packed[-1] == packed[np.int64(2)] == coded[2] and packed[1:] == coded[1:]
    assert list(PackedMasks([])) == []
    texts = [{**mask, "counts": mask["counts"].decode()} for mask in coded]
    assert list(PackedMasks(texts)) == coded
    with pytest.raises(IndexError):
        packed[3]


def test_masks_that_came_as_run_lengths_are_packed_too(truth):
    made, file = truth
    results = findings(made)[:4]
    samples = as_samples(made, results, masks=False)
    for sample, (_, found) in zip(samples, results, strict=True):
        sample["pred_instances"]["masks"] = found["masks"]
    metric = FastCocoMetric(ann_file=file, metric="segm")
    metric.process({}, samples)
    for (_, kept), (_, found) in zip(metric.results, results, strict=True):
        assert [mask["counts"] for mask in kept["masks"]] == [m["counts"] for m in found["masks"]]
    assert type(metric.results[0][1]["masks"]) is PackedMasks


def test_run_lengths_that_do_not_fit_one_buffer_stay_a_list(truth):
    made, file = truth
    results = findings(made)[:1]
    for odd in ({"size": [1, 2]}, {"counts": [3, 4]}):
        (sample,) = as_samples(made, results, masks=False)
        masks = [dict(mask) for mask in results[0][1]["masks"]]
        masks[-1].update(odd)
        sample["pred_instances"]["masks"] = masks
        metric = FastCocoMetric(ann_file=file, metric="segm")
        metric.process({}, [sample])
        assert metric.results[0][1]["masks"] == masks


def test_files_are_written_from_what_process_keeps(truth, tmp_path):
    made, file = truth
    samples = as_samples(made, findings(made)[:8])
    written = []
    for kind in (CocoMetric, FastCocoMetric):
        prefix = str(tmp_path / f"kept_{kind.__name__}")
        metric = kind(ann_file=file, metric=["bbox", "segm"], outfile_prefix=prefix)
        metric.dataset_meta = {"classes": NAMES}
        metric.process({}, samples)
        figures_ = metric.evaluate(size=8)
        parts = ("bbox", "segm")
        texts = [json.loads(Path(f"{prefix}.{part}.json").read_text()) for part in parts]
        written.append((figures_, texts))
    assert written[0] == written[1]
    assert len(written[0][1][1]) > 100


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


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 1, 1), (4, 300, 131), (2, 128, 257)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_codes_are_mmdets(shape, dtype):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    masks[:1] = False
    expected = encode_mask_results(masks.to(dtype).numpy())
    assert encode_masks(masks.to(dtype)) == expected
    assert encode_masks(masks.to(dtype).numpy()) == expected


def test_codes_of_a_view(truth):
    masks = torch.rand(6, 40, 30, generator=torch.Generator().manual_seed(0)) < 0.5
    view = masks[::2, 5:, ::3]
    assert encode_masks(view) == encode_mask_results(view.numpy())


def test_a_single_bitmap_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, H, W\), found the shape \(4, 4\)"):
        encode_masks(torch.zeros(4, 4))


def test_encoding_holds_one_bitmap_and_keeps_none():
    masks = torch.zeros(40, 256, 256, dtype=torch.bool)
    masks[:, 40:200, 30:170] = True
    encode_masks(masks[:1])
    tracemalloc.start()
    coded = encode_masks(masks)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 256 * 256
    assert kept < 1000 * len(coded)


def test_it_needs_no_mmseg(tmp_path: Path):
    """In a process of its own: mmseg may have been imported in this one."""
    import subprocess

    code = (
        "import sys; sys.modules['mmseg'] = None; import mmconvnext; "
        "from mmengine.registry import METRICS; "
        "print(type(METRICS.build(dict(type='mmconvnext.FastCocoMetric'))).__name__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.stdout.strip().endswith("FastCocoMetric"), answer.stderr[-500:]
