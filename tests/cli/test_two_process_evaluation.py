"""An evaluation in two processes, of an odd number of pictures, beside one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from sample_models import CONFIGS as MODELS
from sample_models import save_model
from sample_names import forget_names
from sample_processes import KnowsTheAnswers, run_in_two

from mmconvnext.cli.main import main
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

PICTURES = 5  # the second process gets the first picture again, to be as many
DETECTOR = Path(__file__).parent / "configs" / "shared_batch_detection.py"
DETECTION = f"""
_base_ = {str(DETECTOR)!r}
custom_imports = dict(imports=["mmconvnext", "sample_processes"], allow_failed_imports=False)
model = dict(_delete_=True, type="KnowsTheAnswers")
annotations = "annotations/instances_val.json"
test_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root="data/made_up",
        metainfo=dict(classes=("circle", "square", "triangle")),
        ann_file=annotations,
        data_prefix=dict(img="images/val/"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs"),
        ],
    ),
)
test_cfg = dict(_delete_=True, type="TestLoop")
test_evaluator = dict(
    _delete_=True,
    type="mmconvnext.FastCocoMetric",
    ann_file="data/made_up/" + annotations,
    metric=["bbox", "segm"],
)
"""
SEGMENTATION = f"""
_base_ = {str(MODELS["segmentation"])!r}
test_dataloader = dict(batch_size=2)
test_evaluator = dict(type="mmconvnext.FastIoUMetric")
"""
MAKERS = {"segmentation": make_ade_shapes, "detection": make_coco_shapes}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
    ),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Folder with the figures and predictions of both, in folders ``task_one``, ``task_two``."""
    root = tmp_path_factory.mktemp("evaluated")
    spec = ShapesSpec(train=1, val=PICTURES, size=64, max_shapes=2)
    for task, text in (("detection", DETECTION), ("segmentation", SEGMENTATION)):
        MAKERS[task](root / task, spec)
        (root / f"{task}.py").write_text(text)
    torch.save({"state_dict": KnowsTheAnswers().state_dict()}, root / "detection.pth")
    save_model(MODELS["segmentation"], root / "segmentation.pth")

    def arguments(task: str, name: str, *options: str) -> list[str]:
        config, weights = (str(root / f"{task}.{kind}") for kind in ("py", "pth"))
        return [
            *("test", config, weights, "--data-root", str(root / task), "--device", "cpu"),
            *("--work-dir", str(root / f"{task}_{name}"), *options),
            *("--out", str(root / f"{task}_{name}.pkl")),
        ]

    run_in_two([arguments(task, "two", "--launcher", "pytorch") for task in MAKERS], root)
    for task in MAKERS:
        assert main(arguments(task, "one")) == 0
        forget_names()
    return root


def figures(work: Path) -> dict[str, float]:
    (file,) = work.glob("*/*.json")
    found = json.loads(file.read_text())
    return {name: value for name, value in found.items() if "time" not in name}


@pytest.mark.parametrize("task", MAKERS)
def test_figures_are_those_of_one_process(task, work):
    one, two = (figures(work / f"{task}_{name}") for name in ("one", "two"))
    assert one == two
    names = {"detection": ["coco/bbox_mAP", "coco/segm_mAP"], "segmentation": ["mIoU"]}
    for name in names[task]:
        assert 0 < one[name] < (1 if task == "detection" else 100)


@pytest.mark.parametrize("task", MAKERS)
def test_every_picture_counts_once(task, work):
    one, two = (pickle.loads((work / f"{task}_{name}.pkl").read_bytes()) for name in ("one", "two"))
    assert len(one) == len(two) == PICTURES
    paths = [Path(sample["img_path"]).name for sample in two]
    assert paths == [Path(sample["img_path"]).name for sample in one]
    assert len(set(paths)) == PICTURES
