"""Annotation files and masks with anything in them: refused in one line that names the file, or the
data set loads to its end and has what the check said."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budget import examples
from coco_files import CLASSES, SIDE, absurd, sound
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mmconvnext.cli.datasets import telling_of_emptied_data
from mmconvnext.cli.preflight import check_training
from mmconvnext.data.checks import DataError, read_coco
from mmconvnext.data.inspect_ade20k import inspect_ade20k
from mmconvnext.data.inspect_coco import inspect_coco
from mmconvnext.data.report import STATES
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

ANNOTATIONS = "annotations/instances_train.json"


@pytest.fixture(autouse=True)
def in_silence():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    """A data set whose annotation file the tests write anew."""
    root = tmp_path_factory.mktemp("coco")
    make_coco_shapes(root, ShapesSpec(train=4, val=1, size=SIDE))
    (root / "annotations" / "instances_val.json").unlink()
    return root


@st.composite
def data_configs(draw) -> dict[str, Any]:
    """How a config reads the file."""
    steps = {"with_bbox": True, "with_mask": draw(st.booleans())}
    fast = "mmconvnext.data.fast.detection." if draw(st.booleans()) else ""
    return {
        "type": "CocoDataset",
        "ann_file": ANNOTATIONS,
        "data_prefix": {"img": "images/train/"},
        "metainfo": {"classes": draw(st.sampled_from([CLASSES, CLASSES[:2]]))},
        "filter_cfg": draw(st.sampled_from([None, {"filter_empty_gt": True, "min_size": 32}])),
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": f"{fast}LoadAnnotations", **steps},
            {"type": f"{fast}PackDetInputs"},
        ],
    }


def checked_and_loaded(dataset: dict[str, Any], *, skip: bool = False) -> list[Any] | DataError:
    """The samples of a data set that passes the check before training, or why it does not; with
    ``skip`` those of what is left of it."""
    scope = "mmseg" if "Seg" in dataset["type"] else "mmdet"
    cfg = Config({"default_scope": scope, "train_dataloader": {"dataset": dataset}})
    cfg.update(model={}, train_cfg={}, optim_wrapper={}, work_dir=f"{dataset['data_root']}/run")
    try:
        check_training(cfg, skip=skip).write()
        with (
            telling_of_emptied_data(),
            DATASETS.switch_scope_and_registry(scope) as registry,
        ):
            built = registry.build(cfg.train_dataloader.dataset)
    except DataError as error:
        assert_told(error, dataset["data_root"])
        return error
    return [built[number] for number in range(len(built))]


def assert_told(error: DataError, root: str) -> None:
    assert "\n" not in str(error)
    assert root in str(error)


@settings(max_examples=examples(15))
@given(content=sound(), dataset=data_configs())
def test_a_sound_file_loads(content, dataset, coco):
    (coco / ANNOTATIONS).write_text(json.dumps(content))
    outcome = checked_and_loaded({**dataset, "data_root": str(coco)})
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    found = Counter(names[entry["category_id"]] for entry in content["annotations"])
    if isinstance(outcome, DataError):
        assert "nothing to train on" in str(outcome) or "is left by" in str(outcome)
        return
    assert_as_the_check_said(outcome, found)


def assert_as_the_check_said(samples: list[Any], found: Counter) -> None:
    """mmdet leaves out what is outside of its picture, and crowds are no objects."""
    loaded = Counter(
        CLASSES[label] for s in samples for label in s["data_samples"].gt_instances.labels.tolist()
    )
    assert loaded <= found
    for sample in samples:
        objects = sample["data_samples"].gt_instances
        assert objects.bboxes.tensor.isfinite().all()
        if "masks" in objects:
            assert objects.masks.masks.shape == (len(objects), SIDE, SIDE)


@settings(max_examples=examples(60))
@given(content=absurd(), dataset=data_configs(), skip=st.booleans())
def test_an_absurd_file_loads_or_is_refused(content, dataset, skip, coco):
    file = coco / ANNOTATIONS
    file.write_text(json.dumps(content))
    outcome = checked_and_loaded({**dataset, "data_root": str(coco)}, skip=skip)
    if not isinstance(outcome, DataError):
        assert_as_the_check_said(outcome, Counter(read_coco(str(file)).counts))


@settings(max_examples=examples(80))
@given(content=absurd())
def test_an_inspection_tells_of_absurd_files(content, coco):
    (coco / ANNOTATIONS).write_text(json.dumps(content))
    report = inspect_coco(coco)
    assert all(part.state in STATES and "\n" not in part.found for part in report.parts)
    assert all("\n" not in f.line for part in report.parts for f in part.findings)


@settings(max_examples=examples(40))
@given(data=st.data())
def test_a_damaged_file_is_refused(data, coco):
    file = coco / ANNOTATIONS
    content = json.dumps(data.draw(sound())).encode()
    file.write_bytes(data.draw(damaged(content)))
    dataset = {**data.draw(data_configs()), "data_root": str(coco)}
    outcome = checked_and_loaded(dataset)
    if not isinstance(outcome, DataError):
        assert_as_the_check_said(outcome, Counter(read_coco(str(file)).counts))
    inspect_coco(coco)


@pytest.fixture(scope="module")
def ade(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ade")
    make_ade_shapes(root, ShapesSpec(train=2, val=1, size=32))
    return root


@st.composite
def masks(draw) -> bytes:
    """A picture of some kind where a mask should be, whole or not."""
    mode = draw(st.sampled_from(["L", "P", "I;16", "I", "1", "RGB", "RGBA", "LA", "F"]))
    size = draw(st.sampled_from([(32, 32), (32, 32), (1, 1), (16, 40)]))
    values = draw(st.sampled_from([(0, 1), (1, 4), (0, 255), (255, 256), (0, 70000)]))
    array = np.random.default_rng(draw(st.integers(0, 3))).integers(*values, size[::-1])
    kind = "TIFF" if mode in ("I", "F") else "PNG"
    buffer = io.BytesIO()
    if mode in ("I;16", "I"):
        Image.fromarray(array.astype(np.uint16 if mode == "I;16" else np.int32)).save(buffer, kind)
    else:
        Image.fromarray(array.astype(np.uint8)).convert(mode).save(buffer, kind)
    content = buffer.getvalue()
    return draw(st.just(content) | damaged(content))


@settings(max_examples=examples(25))
@given(content=masks(), reduce=st.booleans())
def test_any_mask_loads_or_is_refused(content, reduce, ade):
    file = sorted((ade / "annotations" / "training").iterdir())[0]
    before = file.read_bytes()
    file.write_bytes(content)
    classes = ("background", "circle", "square", "triangle")
    dataset = {
        "type": "BaseSegDataset",
        "data_root": str(ade),
        "metainfo": {"classes": classes},
        "data_prefix": {
            "img_path": "images/training",
            "seg_map_path": "annotations/training",
        },
        "img_suffix": ".png",
        "reduce_zero_label": reduce,
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "reduce_zero_label": reduce},
            {"type": "PackSegInputs"},
        ],
    }
    try:
        outcome = checked_and_loaded(dataset)
        inspect_ade20k(ade)
    finally:
        file.write_bytes(before)
    if isinstance(outcome, DataError):
        return
    for sample in outcome:
        mask = sample["data_samples"].gt_sem_seg.data
        assert mask.shape[1:] == sample["inputs"].shape[1:]
        assert ((mask < len(classes)) | (mask == 255)).all()
