from __future__ import annotations

import itertools

import pytest
from mmengine.config import Config

from mmconvnext.data.checks import DataError
from mmconvnext.inference.category_ids import category_ids
from mmconvnext.inference.legend import find_legend, made_up_palette


@pytest.fixture(params=["dataset_meta", "older"])
def checkpoint(request):
    classes, palette = ("cat", "dog", "owl"), [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    if request.param == "older":
        return {"meta": {"CLASSES": classes, "PALETTE": palette}}
    return {"meta": {"dataset_meta": {"classes": classes, "palette": palette}}}


@pytest.fixture
def cfg(models):
    return Config.fromfile(models["detection"][0])


def test_the_checkpoint_goes_before_the_config(cfg, checkpoint):
    legend = find_legend(cfg, checkpoint)
    assert legend.classes == ("cat", "dog", "owl")
    assert legend.palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert legend.source == "the checkpoint"


def test_else_the_configs_data_set_names_them(cfg):
    legend = find_legend(cfg, {"state_dict": {}})
    assert legend.classes == ("circle", "square", "triangle")
    assert legend.palette[0] == (230, 80, 60)
    assert legend.source == "the config's data set"


def test_colours_of_other_names_are_not_taken(cfg):
    named = {"meta": {"dataset_meta": {"classes": ("a", "b", "c")}}}
    assert find_legend(cfg, named).palette == made_up_palette(3)
    same = {"meta": {"dataset_meta": {"classes": ("circle", "square", "triangle")}}}
    assert find_legend(cfg, same).palette[0] == (230, 80, 60)


def test_a_config_with_other_classes_than_the_model_is_refused(cfg):
    cfg.test_dataloader.dataset.metainfo = dict(classes=("one", "two"))
    with pytest.raises(DataError, match="num_classes=3"):
        find_legend(cfg, {})


def test_whether_zero_is_ignored_comes_with_the_data_set(models):
    cfg = Config.fromfile(models["segmentation"][0])
    assert find_legend(cfg, {}).zero_is_ignored
    saved = {"classes": ("a", "b", "c", "d"), "reduce_zero_label": False}
    assert not find_legend(cfg, {"meta": {"dataset_meta": saved}}).zero_is_ignored


def test_made_up_colours_differ_and_stay():
    palette = made_up_palette(80)
    assert made_up_palette(20) == palette[:20]
    apart = [
        sum(abs(a - b) for a, b in zip(*pair, strict=True))
        for pair in itertools.combinations(palette[:20], 2)
    ]
    assert len(set(palette)) == 80 and min(apart) > 40


def test_ids_are_the_given_files_then_the_configs_then_coco_s(tmp_path, shapes, cfg):
    names = ("circle", "square", "triangle")
    given = {"triangle": 7, "square": 8, "circle": 9, "other": 1}
    assert category_ids(names, given, cfg).ids == (9, 8, 7)
    cfg.test_dataloader.dataset.data_root = str(shapes["detection"])
    found = category_ids(names, {"circle": 4}, cfg)
    assert found.ids == (1, 2, 3) and found.source.endswith("instances_val.json")
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    assert category_ids(names, {}, cfg).source.startswith("label + 1")


def test_cocos_ids_are_known():
    from mmdet.datasets import CocoDataset

    names = tuple(CocoDataset.METAINFO["classes"])
    found = category_ids(names, {}, None)
    ids = dict(zip(names, found.ids, strict=True))  # a few from the official file
    assert (ids["person"], ids["stop sign"], ids["zebra"], ids["toothbrush"]) == (1, 13, 24, 90)
    assert len(set(found.ids)) == 80 and found.source == "COCO's own"
