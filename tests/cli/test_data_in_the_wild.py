"""A table of what users' data sets have in them: handled as the format says, or refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from sample_bad_cases import DETECTION, SEGMENTATION

from mmconvnext.cli import overrides, preflight
from mmconvnext.data.checks import DataError

FAST = {
    task: f"mmconvnext.data.fast.{task}.LoadAnnotations" for task in ("detection", "segmentation")
}
PIPELINES = {
    "detection": [
        dict(type="LoadImageFromFile"),
        dict(type=FAST["detection"], with_bbox=True, with_mask=True),
        dict(type="RandomChoiceResize", scales=[(64, 64), (48, 80)], keep_ratio=True),
        dict(type="RandomCrop", crop_size=(48, 48), allow_negative_crop=True),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PackDetInputs"),
    ],
    "segmentation": [
        dict(type="LoadImageFromFile"),
        dict(type=FAST["segmentation"], reduce_zero_label=True),
        dict(type="RandomResize", scale=(256, 256), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(64, 64), cat_max_ratio=0.75),
        dict(type="PackSegInputs"),
    ],
}


CASES = {
    **{f"detection: {name}": ("detection", case) for name, case in DETECTION.items()},
    **{f"segmentation: {name}": ("segmentation", case) for name, case in SEGMENTATION.items()},
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The tiny configs with the steps that the recipes have, without validation."""
    found = {}
    folder = Path(__file__).parent / "configs"
    for task in FAST:
        cfg = Config.fromfile(str(folder / f"tiny_{task}.py"))
        node = cfg.train_dataloader.dataset
        (node.dataset if "dataset" in node else node)["pipeline"] = PIPELINES[task]
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        found[task] = cfg
    return found


def prepared(configs, task: str, root: Path, work: Path) -> Config:
    cfg = copy.deepcopy(configs[task])
    overrides.set_data_root(cfg, str(root))
    cfg.work_dir = str(work)
    if (root / "list.txt").exists():
        cfg.train_dataloader.dataset["ann_file"] = "list.txt"
    return cfg


def built(cfg: Config, task: str, augmented: bool) -> Any:
    node = copy.deepcopy(cfg.train_dataloader.dataset)
    inner = node.dataset if "dataset" in node else node
    if not augmented:
        inner["pipeline"] = [inner["pipeline"][0], inner["pipeline"][1], inner["pipeline"][-1]]
    scope = {"detection": "mmdet", "segmentation": "mmseg"}[task]
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.build(node)


@pytest.mark.parametrize("name", CASES)
def test_is_handled_or_refused_by_name_or_left_out(name, configs, own_data, tmp_path):
    task, case = CASES[name]
    root = own_data[task]
    case.breaks(root)
    cfg = prepared(configs, task, root, tmp_path / "work")
    if case.said is None:
        found = preflight.check_training(cfg)
        assert not any(found.bad.values()) and not found.write()
        case.holds(built(cfg, task, augmented=False)[1], root)
    else:
        with pytest.raises(DataError, match=case.said) as error:
            preflight.check_training(cfg)
        assert "\n" not in str(error.value) and str(root) in str(error.value)
        assert not (tmp_path / "work").exists()
        cfg = prepared(configs, task, root, tmp_path / "work")
        found = preflight.check_training(cfg, skip=True)
        assert len(found.bad["train_dataloader"]) == case.left_out
        (line,) = found.write()
        assert f" {case.left_out} bad entries are left out" in line
    data = built(cfg, task, augmented=True)
    for number in range(len(data)):
        sample = data[number]
        assert min(sample["inputs"].shape[1:]) > 0
        assert max(sample["inputs"].shape[1:]) <= 128  # the long ones as well: memory is bounded
