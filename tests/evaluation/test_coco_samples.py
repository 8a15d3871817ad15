"""What the fast COCO metric keeps of the samples that an evaluator hands over."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.metrics import CocoMetric
from sample_coco import NAMES, as_samples, findings

from mmconvnext.evaluation.coco_metric import FastCocoMetric
from mmconvnext.evaluation.mask_coding import PackedMasks, encode_masks


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
