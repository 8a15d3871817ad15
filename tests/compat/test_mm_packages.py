"""Configs by the name ``package::path``, from a checkout and from a wheel's layout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mmengine.hub
import pytest
from mmengine.config import Config

import mmconvnext
from mmconvnext.compat import mm_packages
from mmconvnext.compat.config_root import config_root
from mmconvnext.compat.mm_packages import find_config

mm_packages.install()
RECIPE = "detection/cascade_convnext_t_coco.py"
ROOT = Path(mmconvnext.__file__).parents[1]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_own_configs_are_found_beside_the_package():
    assert config_root() == ROOT / "configs"
    assert find_config(f"mmconvnext::{RECIPE}") == ROOT / "configs" / RECIPE


def test_own_config_loads_by_name():
    by_name = Config.fromfile(f"mmconvnext::{RECIPE}")
    assert by_name.to_dict() == Config.fromfile(ROOT / "configs" / RECIPE).to_dict()
    assert by_name.filename == str(ROOT / "configs" / RECIPE)
    assert by_name.model.backbone.type == "mmconvnext.ConvNeXt"


def test_own_config_is_a_base_whose_types_keep_their_scope(tmp_path):
    text = f"_base_ = 'mmconvnext::{RECIPE}'\nmodel = dict(backbone=dict(arch='small'))\n"
    cfg = Config.fromfile(write(tmp_path / "mine.py", text))
    own = Config.fromfile(f"mmconvnext::{RECIPE}")
    own.model.backbone.arch = "small"
    assert cfg.to_dict() == own.to_dict()
    assert "_scope_" not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("mmdet::_base_/models/mask-rcnn_r50_fpn.py", "mmdet"),
        ("mmseg::_base_/models/upernet_r50.py", "mmseg"),
    ],
)
def test_other_packages_configs_load_and_are_bases_in_their_scope(tmp_path, name, scope):
    cfg = Config.fromfile(name)
    assert cfg.model.backbone.depth == 50
    assert Path(cfg.filename).parts[-4:] == ("configs", *name.partition("::")[2].split("/"))
    mine = write(tmp_path / "mine.py", f"_base_ = '{name}'")
    assert Config.fromfile(mine).model._scope_ == scope


def test_relative_bases_are_left_to_mmengine(tmp_path):
    write(tmp_path / "base.py", "a = 1")
    assert Config.fromfile(str(write(tmp_path / "c.py", "_base_ = './base.py'\nb = 2"))).a == 1
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        Config.fromfile(tmp_path / "none.py")


def test_hub_gives_own_configs():
    cfg = mmengine.hub.get_config(f"mmconvnext::{RECIPE}")
    assert cfg.to_dict() == Config.fromfile(f"mmconvnext::{RECIPE}").to_dict()


def test_hub_still_gives_other_packages_configs():
    cfg = mmengine.hub.get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    assert cfg.model.type == "RetinaNet"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mmconvnext::detection/cascade_convnext_tiny_coco.py", f"mmconvnext::{RECIPE}"),
        ("mmconvnext::cascade_convnext_t_coco.py", f"mmconvnext::{RECIPE}"),
        (
            "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coc.py",
            "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        ),
    ],
)
def test_missing_config_names_what_is_near(name, near):
    with pytest.raises(FileNotFoundError) as error:
        Config.fromfile(name)
    assert str(error.value).startswith(f"{name}: no such config in ")
    assert near in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_package_is_named():
    with pytest.raises(ModuleNotFoundError, match="mmnothing: no such package here"):
        Config.fromfile("mmnothing::a/b.py")


def test_installing_twice_changes_nothing():
    before = Config.fromfile, Config._get_cfg_path
    mm_packages.install()
    assert (Config.fromfile, Config._get_cfg_path) == before


def test_configs_in_a_wheel_come_before_a_neighbouring_folder(tmp_path, monkeypatch):
    package = write(tmp_path / "mmsample" / "__init__.py", "").parent
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match="mmsample: expected its configs in "):
        config_root("mmsample")
    write(tmp_path / "configs" / "a.py", "a = 'neighbour'")
    assert Config.fromfile("mmsample::a.py").a == "neighbour"
    write(package / ".mim" / "configs" / "a.py", "a = 'wheel'")
    assert Config.fromfile("mmsample::a.py").a == "wheel"


def test_names_work_in_a_wheels_layout_with_the_hub_imported_first(tmp_path):
    """In a fresh interpreter; pkg_resources is needed by mmengine's hub, by the names it is not."""
    shutil.copytree(ROOT / "mmconvnext", tmp_path / "mmconvnext")
    shutil.copy(ROOT / "_mmconvnext_ops_finder.py", tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "mmconvnext" / ".mim" / "configs")
    code = (
        "import sys; from mmengine.hub import get_config; from mmengine.config import Config\n"
        "import mmconvnext\n"
        "sys.modules['pkg_resources'] = None\n"
        f"cfg = Config.fromfile('mmconvnext::{RECIPE}')\n"
        "del sys.modules['pkg_resources']\n"
        f"assert get_config('mmconvnext::{RECIPE}').to_dict() == cfg.to_dict()\n"
        "print(cfg.filename)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = Path(done.stdout.strip().splitlines()[-1])
    assert told == tmp_path / "mmconvnext" / ".mim" / "configs" / RECIPE
