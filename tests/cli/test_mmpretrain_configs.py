"""mmdet's and mmseg's own ConvNeXt configs, without mmpretrain and with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmconvnext import ConvNeXt
from mmconvnext.cli.configs import load_config
from mmconvnext.cli.main import main
from mmconvnext.cli.models import build_without_memory
from mmconvnext.compat.config_root import config_root

SHIPPED = [
    f"{package}::{file.relative_to(config_root(package)).as_posix()}"
    for package in ("mmdet", "mmseg")
    for file in sorted((config_root(package) / "convnext").glob("*.py"))
]
# What the tiny configs of the tests have, in the manner of mmdet's and mmseg's own.
THEIRS = """
custom_imports = dict(imports={imports}, allow_failed_imports=False)
model = dict(
    backbone=dict(
        type="mmpretrain.ConvNeXt", out_indices=[0, 1, 2, 3], gap_before_final_norm=False
    )
)
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_read_and_built(name):
    cfg = load_config(name, {})
    assert "custom_imports" not in cfg
    assert cfg.model.backbone.type == "mmconvnext.ConvNeXt"
    assert isinstance(build_without_memory(cfg).backbone, ConvNeXt)


def test_their_rates_decay_with_our_names():
    """By mmdet's and mmseg's own constructors, which look for `backbone.stages` and the like."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope

    # Layer-wise by 0.95 over 6 layers; stage-wise by 0.9, where the four stages are 1 to 4 of 12.
    for name, lowest, last, head in (
        (SHIPPED[2], 1e-4 * 0.95**7, 1e-4 * 0.95, 1e-4),
        (SHIPPED[-1], 8e-5 * 0.9**13, 8e-5 * 0.9**9, 8e-5),
    ):
        cfg = load_config(name, {"optim_wrapper.type": "OptimWrapper"})
        cfg.optim_wrapper.pop("loss_scale", None)
        model = build_without_memory(cfg)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        rates = {
            name: group["lr"]
            for group in wrapper.param_groups
            for name in group.get("param_names", ())
        }
        assert rates["backbone.downsample_layers.0.0.weight"] == pytest.approx(lowest)
        assert rates["backbone.stages.3.0.dwconv.weight"] == pytest.approx(last)
        assert rates[next(key for key in rates if "head" in key)] == pytest.approx(head)


@pytest.mark.parametrize("imports", ["'mmpretrain.models'", "['mmpretrain.models', 'json']"])
def test_train_and_test(imports, tiny_config, shapes, tmp_path, capsys):
    config = str(tiny_config("segmentation", THEIRS.format(imports=imports)))
    work = tmp_path / "work"
    where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(work)]
    assert main(["train", config, *where, "--max-iters", "1"]) == 0
    out = capsys.readouterr().out
    assert "mmconvnext: custom_imports: without mmpretrain, which is not installed" in out
    assert "mmconvnext: mmpretrain.ConvNeXt -> mmconvnext.ConvNeXt" in out
    checkpoint = str(work / "iter_1.pth")
    assert "backbone.stages.0.0.gamma" in torch.load(checkpoint, weights_only=True)["state_dict"]
    written = Config.fromfile(work / "tiny.py")  # mmengine reads it by itself
    assert written.custom_imports["imports"] in (["mmconvnext"], ["json", "mmconvnext"])
    assert main(["test", config, checkpoint, *where]) == 0
    assert main(["test", str(work / "tiny.py"), checkpoint, *where]) == 0


def test_an_installed_mmpretrain_is_used(tiny_config, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "mmpretrain"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(package.parent)
    config = tiny_config("segmentation", THEIRS.format(imports="'mmpretrain.models'"))
    try:
        cfg = load_config(str(config), {})
        assert cfg.model.backbone.type == "mmpretrain.ConvNeXt"
        assert cfg.custom_imports.imports == "mmpretrain.models"
        assert sys.modules["mmpretrain.models"].imported
    finally:
        for name in ("mmpretrain", "mmpretrain.models"):
            sys.modules.pop(name, None)


def test_other_imports_that_fail_are_an_error(tiny_config, tmp_path, capsys):
    config = tiny_config("segmentation", THEIRS.format(imports="['mmpretrain', 'not_there']"))
    assert main(["train", str(config)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Failed to import not_there" in err
    assert f"config {config}: custom_imports: " in err


def test_an_installed_mmpretrain_that_breaks_is_said_with_the_reason(tmp_path, monkeypatch, capsys):
    package = tmp_path / "mmpretrain"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('cannot import name that went away')")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["analyze", SHIPPED[-1]]) == 2
    out, err = capsys.readouterr()
    file = config_root("mmseg") / SHIPPED[-1].partition("::")[2]
    assert not out and err.count("\n") == 1
    assert f"config {file}: custom_imports: " in err
    assert "Failed to import mmpretrain.models (cannot import name that went away)" in err


def test_analyze_prints_json_alone(capsys):
    """The published parameters of Mask R-CNN T and UPerNet T, in millions, and nothing else."""
    for name, published in ((SHIPPED[2], 48), (SHIPPED[-2], 60)):
        assert main(["analyze", name, "--json"]) == 0
        assert round(json.loads(capsys.readouterr().out)["params"] / 1e6) == published


def test_a_config_on_top_of_theirs(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(f"_base_ = {SHIPPED[2]!r}\nmodel = dict(backbone=dict(drop_path_rate=0.1))\n")
    cfg = load_config(str(file), {})
    assert cfg.model.backbone.type == "mmconvnext.ConvNeXt"
    assert cfg.model.backbone.drop_path_rate == 0.1
