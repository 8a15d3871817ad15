"""``mmconvnext test … --tta``: whole runs, the config's surgery, and what cannot be done."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mmengine.config import Config
from pycocotools import mask as coco_masks

from mmconvnext.cli.configs import load_config
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.main import main
from mmconvnext.cli.models import build_on
from mmconvnext.cli.tta import use_tta
from mmconvnext.compat.mm_packages import config_root

MASKS = "mmconvnext::demo/cascade_convnext_shapes.py"
INSTANCES, SEMANTIC = "mmconvnext.InstanceTTAModel", "mmconvnext.SemanticTTAModel"
FLIPS = [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)]
FLIP_KEYS = ("flip", "flip_direction")


@pytest.fixture
def tested(shapes, tmp_path, capsys) -> Callable[..., tuple[str, list[dict], list[Path]]]:
    """Tests an untrained model with --tta; returns what was printed, predictions and pictures."""

    def run(config: Path | str, task: str, *options: str) -> tuple[str, list[dict], list[Path]]:
        torch.manual_seed(0)
        model = build_on("cpu", load_config(str(config), {}))
        checkpoint = tmp_path / "untrained.pth"
        torch.save({"state_dict": model.state_dict(), "meta": {}}, checkpoint)
        out, painted = tmp_path / "found.pkl", tmp_path / "painted"
        where = ["--data-root", str(shapes[task]), "--work-dir", str(tmp_path / "w")]
        targets = ["--out", str(out), "--show-dir", str(painted), "--device", "cpu"]
        capsys.readouterr()
        words = ["test", str(config), str(checkpoint), *where, *targets, "--tta", *options]
        status = main(words)
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out, pickle.loads(out.read_bytes()), sorted(painted.iterdir())

    return run


def test_detection_without_masks_from_a_derived_pipeline(tested, tiny_config) -> None:
    said, found, painted = tested(tiny_config("detection"), "detection")
    assert "--tta: 6 views of every picture, merged by InstanceTTAModel" in said
    assert "coco/bbox_mAP_50" in said
    assert len(found) == len(painted) == 4
    for sample in found:
        instances = sample["pred_instances"]
        assert "masks" not in instances and 0 < len(instances["scores"]) <= 100
        assert (instances["scores"][:-1] >= instances["scores"][1:]).all()
    assert cv2.imread(str(painted[0])).shape[0] == 64


def test_detection_with_masks_in_batches_of_views(tested) -> None:
    # The demo's loader makes batches of 10, its cascade averages the masks of three stages.
    said, found, painted = tested(
        MASKS, "detection", "--cfg-options", "tta_model.tta_cfg.max_per_img=7"
    )
    assert "--tta: 6 views" in said and "coco/segm_mAP" in said
    assert len(found) == len(painted) == 4
    assert len({sample["img_id"] for sample in found}) == 4
    for sample in found:
        instances = sample["pred_instances"]
        assert 0 < len(instances["masks"]) == len(instances["bboxes"]) <= 7
        assert coco_masks.decode(instances["masks"][0]).shape == (64, 64)


def test_segmentation_from_a_derived_pipeline(tested, tiny_config) -> None:
    said, found, painted = tested(
        tiny_config("segmentation"), "segmentation", "--cfg-options", "test_dataloader.batch_size=2"
    )
    assert "--tta: 12 views of every picture, merged by SemanticTTAModel" in said
    assert "mIoU" in said
    assert len(found) == len(painted) == 4
    for sample in found:
        assert sample["pred_sem_seg"]["data"].shape == (1, 64, 64)
        assert set(sample["gt_sem_seg"]["data"].unique().tolist()) <= {0, 1, 2, 3, 255}


def test_a_given_pipeline_and_model_are_used(tested, tiny_config) -> None:
    extra = f"""
default_scope = "mmseg"
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[
        {FLIPS}, [dict(type="LoadAnnotations")], [dict(type="PackSegInputs")]]),
]
tta_model = dict(type="SegTTAModel")
"""
    said, found, _ = tested(tiny_config("segmentation", extra), "segmentation")
    assert "--tta: 2 views of every picture, merged by SemanticTTAModel" in said
    assert len(found) == 4


def config(pipeline: list[dict], scope: str | None = "mmdet", **more: Any) -> Config:
    return Config(
        dict(
            default_scope=scope,
            model=dict(type="Any", data_preprocessor=dict(type="Own")),
            test_dataloader=dict(dataset=dict(type="Some", pipeline=pipeline)),
            test_evaluator=dict(type="CocoMetric"),
            **more,
        ),
        cfg_text=" ",
        filename="c.py",
    )


LOAD, PACK = dict(type="LoadImageFromFile"), dict(type="PackDetInputs")
RESIZE = dict(type="Resize", scale=(1333, 800), keep_ratio=True, _scope_="mmdet")
READ = dict(type="LoadAnnotations", with_bbox=True)


def test_views_are_derived_from_the_resizing_step_on() -> None:
    pack = dict(type="PackDetInputs", meta_keys=("img_id", "flip"))
    flip = dict(type="RandomFlip", prob=0.0)
    cfg = config([LOAD, READ, RESIZE, flip, dict(type="mmdet.Pad", size=(9, 9)), pack])
    assert use_tta(cfg).startswith("--tta: 6 views")
    load, views = cfg.test_dataloader.dataset.pipeline
    assert load == LOAD and views.type == "TestTimeAug"
    assert views.transforms == [
        [dict(RESIZE, scale=scale) for scale in ((1000, 600), (1333, 800), (1666, 1000))],
        [dict(f, _scope_="mmdet") for f in FLIPS],
        [dict(type="mmdet.Pad", size=(9, 9))],
        [READ],
        [dict(type="PackDetInputs", meta_keys=("img_id", "flip", "flip_direction"))],
    ]


@pytest.mark.parametrize(
    ("resize", "smaller"),
    [
        (dict(type="Resize", scale_factor=2.0), dict(scale_factor=1.5)),
        (
            dict(type="ResizeShortestEdge", scale=400, max_size=800),
            dict(scale=300, max_size=600),
        ),
        (dict(type="FixScaleResize", scale=(800, 1333)), dict(scale=(600, 1000))),
    ],
    ids=["factor", "shortest", "fixed"],
)
def test_every_way_of_resizing_is_scaled(resize: dict, smaller: dict) -> None:
    cfg = config([LOAD, resize, PACK])
    use_tta(cfg)
    sizes = cfg.test_dataloader.dataset.pipeline[1].transforms[0]
    assert sizes[0] == {**resize, **smaller}
    assert sizes[1] == resize


def test_pictures_tested_in_their_own_size_are_scaled_by_factors() -> None:
    cfg = config([LOAD, READ, PACK], "mmseg")
    assert use_tta(cfg).startswith("--tta: 12 views")
    views = cfg.test_dataloader.dataset.pipeline[1].transforms
    factors = [step["scale_factor"] for step in views[0]]
    assert factors == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert all(step["keep_ratio"] for step in views[0])
    assert views[1:] == [FLIPS, [READ], [PACK]]


def test_data_sets_inside_wrappers_get_their_own_views() -> None:
    cfg = config([LOAD, RESIZE, PACK])
    small = [LOAD, dict(RESIZE, scale=(64, 32)), PACK]
    parts = [cfg.test_dataloader.dataset, dict(type="Some", pipeline=small)]
    inner = dict(type="ConcatDataset", datasets=parts)
    cfg.test_dataloader.dataset = dict(type="RepeatDataset", times=1, dataset=inner)
    use_tta(cfg)
    found = cfg.test_dataloader.dataset.dataset.datasets
    shapes = [part.pipeline[1].transforms[0][0].scale for part in found]
    assert shapes == [(1000, 600), (48, 24)]


def test_the_models_own_preprocessing_is_kept() -> None:
    cfg = config([LOAD, RESIZE, PACK], data_preprocessor=dict(type="General"))
    use_tta(cfg)
    assert cfg.model.data_preprocessor == dict(type="Own")
    assert cfg.model.module.data_preprocessor == dict(type="Own")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (dict(type="DetTTAModel", tta_cfg=dict(max_per_img=9)), INSTANCES),
        (dict(type="mmdet.DetTTAModel"), INSTANCES),
        (dict(type="SegTTAModel"), SEMANTIC),
        (dict(type="TheirTTAModel", depth=1), "TheirTTAModel"),
    ],
)
def test_the_hosts_models_are_replaced_by_ours_and_others_are_not(given, used) -> None:
    cfg = config([LOAD, RESIZE, PACK], tta_model=given)
    use_tta(cfg)
    assert cfg.model.type == used
    rest = {key: value for key, value in given.items() if key != "type"}
    assert {key: cfg.model[key] for key in rest} == rest


VIEWS = dict(type="TestTimeAug", transforms=[FLIPS, [PACK]])
NO_KEYS = dict(type="TestTimeAug", transforms=[FLIPS, [dict(PACK, meta_keys=("img_id", "flip"))]])


@pytest.mark.parametrize(
    ("cfg", "line"),
    [
        (
            config([LOAD, RESIZE, PACK], None),
            "no tta_model, and none is known for default_scope=",
        ),
        (
            config([LOAD, RESIZE, PACK], "mmrotate", tta_model=dict(type="Own")),
            "no tta_pipeline, and none can be made for default_scope='mmrotate'; add one",
        ),
        (config([LOAD, RESIZE, READ]), "a test pipeline that ends in LoadAnnotations, not Pack…"),
        (config([]), "a test pipeline that ends in nothing, not Pack…"),
        (config([dict(type="Own"), PACK]), "a test pipeline with neither Resize nor LoadImage…"),
        (config([], tta_pipeline=[LOAD, PACK]), "tta_pipeline has no TestTimeAug step"),
        (config([], tta_pipeline=[LOAD, NO_KEYS]), "PackDetInputs in tta_pipeline lacks flip_dir"),
    ],
    ids=["scope", "no-pipeline", "no-pack", "empty", "no-resize", "no-views", "no-keys"],
)
def test_what_is_missing_is_said_in_one_line(cfg: Config, line: str) -> None:
    model = cfg.model.to_dict()
    with pytest.raises(UsageError, match=line) as error:
        use_tta(cfg)
    assert "config c.py" in str(error.value) and "\n" not in str(error.value)
    assert cfg.model.to_dict() == model


def test_views_without_flips_need_not_say_how_they_lie() -> None:
    sizes = [dict(RESIZE, scale=scale) for scale in ((64, 32), (96, 48), (128, 64))]
    pack = dict(PACK, meta_keys=("img_id",))
    cfg = config([], tta_pipeline=[LOAD, dict(type="TestTimeAug", transforms=[sizes, [pack]])])
    assert use_tta(cfg).startswith("--tta: 3 views")


@pytest.mark.parametrize("metric", ["CocoPanopticMetric", "mmdet.SemSegMetric", "DepthMetric"])
def test_what_cannot_be_merged_is_named_by_its_metric(metric: str) -> None:
    cfg = config([LOAD, RESIZE, PACK])
    cfg.test_evaluator = [dict(type="CocoMetric"), dict(type=metric)]
    with pytest.raises(UsageError, match=f"not what {metric.rpartition('.')[2]} measures"):
        use_tta(cfg)
    cfg.tta_model = dict(type="TheirTTAModel")
    use_tta(cfg)


def test_bad_input_leaves_with_status_2_before_anything_is_written(
    tiny_config, shapes, tmp_path, capsys
) -> None:
    path = tiny_config("segmentation", "tta_pipeline = [dict(type='LoadImageFromFile')]\n")
    model = build_on("cpu", load_config(str(path), {}))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "c.pth")
    work = tmp_path / "w"
    where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(work)]
    assert main(["test", str(path), str(tmp_path / "c.pth"), *where, "--tta"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "tta_pipeline has no TestTimeAug step" in said[0]
    assert not work.exists()


def recipe(name: str) -> Config:
    cfg = Config.fromfile(config_root() / name)
    use_tta(cfg)
    return cfg


V1_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
V2_RATIOS = (0.75, 0.875, 1.0, 1.125, 1.25)


@pytest.mark.parametrize(
    ("name", "crop", "ratios"),
    [
        ("upernet_convnext_t_ade20k_512", 512, V1_RATIOS),
        ("upernet_convnext_b_ade20k_512", 512, V1_RATIOS),
        ("upernet_convnext_l_in22k_ade20k_640", 640, V1_RATIOS),
        ("upernet_convnextv2_b_ade20k_512", 512, V2_RATIOS),
        ("upernet_convnextv2_h_ade20k_512", 512, V2_RATIOS),
    ],
)
def test_segmentation_recipes_are_tested_as_published(
    name: str, crop: int, ratios: tuple[float, ...]
) -> None:
    cfg = recipe(f"segmentation/{name}.py")
    assert cfg.model.type == SEMANTIC
    assert cfg.model.test_cfg == dict(mode="whole")
    # One picture at a time is looked at in windows.
    assert cfg.model.module.test_cfg.mode == "slide"
    views = cfg.test_dataloader.dataset.pipeline[1]
    sizes, flips, *rest = views.transforms
    assert [step.scale for step in sizes] == [
        (int(4 * crop * ratio), int(crop * ratio)) for ratio in ratios
    ]
    assert all(step.type == "Resize" and step.keep_ratio for step in sizes)
    assert [(f.prob, f.get("direction", "horizontal")) for f in flips] == [
        (0.0, "horizontal"),
        (1.0, "horizontal"),
    ]
    assert [group[0].type for group in rest] == ["LoadAnnotations", "PackSegInputs"]


@pytest.mark.parametrize("method", ["cascade", "mask_rcnn"])
def test_detection_recipes_are_tested_at_three_sizes(method: str) -> None:
    cfg = recipe(f"detection/{method}_convnext_t_coco.py")
    assert cfg.model.type == INSTANCES
    assert cfg.model.tta_cfg == dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100)
    sizes, flips, *rest = cfg.test_dataloader.dataset.pipeline[1].transforms
    assert [step.scale for step in sizes] == [(1000, 600), (1333, 800), (1667, 1000)]
    assert all(step.keep_ratio for step in sizes)
    assert [flip.prob for flip in flips] == [0.0, 1.0]
    assert [group[0].type for group in rest] == ["LoadAnnotations", "PackDetInputs"]
