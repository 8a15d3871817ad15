"""What a config that was made for mmpretrain's ConvNeXt is turned into, and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.compat.without_mmpretrain import use_own_convnext

IMPORTS = "custom_imports: without mmpretrain, which is not installed"
RENAMED = "mmpretrain.ConvNeXt -> mmconvnext.ConvNeXt"
EXPLICIT = {"out_indices": [0, 1, 2, 3], "gap_before_final_norm": False}


def config(imports: object, **parts: object) -> Config:
    return Config({"custom_imports": {"imports": imports, "allow_failed_imports": False}, **parts})


@pytest.mark.parametrize(
    ("imports", "kept"),
    [
        ("mmpretrain.models", None),
        ("mmpretrain", None),
        (["mmpretrain.models"], None),
        (["mmpretrain.models", "mine", "mmpretrain"], ["mine"]),
    ],
)
def test_only_its_imports_are_left_out(imports, kept):
    cfg = config(imports)
    assert use_own_convnext(cfg) == [IMPORTS]
    rest = {"imports": kept, "allow_failed_imports": False}
    assert cfg.to_dict() == ({} if kept is None else {"custom_imports": rest})


@pytest.mark.parametrize("imports", ["mine", ["mine"], ["mmpretrained.models"], [], None])
def test_other_imports_stay(imports):
    cfg = config(imports)
    before = cfg.to_dict()
    assert use_own_convnext(cfg) == []
    assert cfg.to_dict() == before


def test_the_type_is_renamed_wherever_it_stands():
    theirs = {"type": "mmpretrain.ConvNeXt", **EXPLICIT}
    ours = {"type": "mmconvnext.ConvNeXt", **EXPLICIT}
    cfg = Config({"model": {"backbone": theirs, "parts": [({"inner": theirs},)]}})
    assert use_own_convnext(cfg) == [RENAMED]
    assert cfg.model.to_dict() == {"backbone": ours, "parts": [({"inner": ours},)]}
    assert use_own_convnext(cfg) == []


def test_what_the_config_leaves_open_is_what_their_class_does():
    cfg = Config({"model": {"backbone": {"type": "mmpretrain.ConvNeXt", "arch": "tiny"}}})
    use_own_convnext(cfg)
    assert cfg.model.backbone.to_dict() == {
        "type": "mmconvnext.ConvNeXt",
        "arch": "tiny",
        "out_indices": -1,
        "gap_before_final_norm": True,
    }


def test_other_types_stay():
    model = {"backbone": {"type": "mmpretrain.VisionTransformer"}, "neck": {"type": "ConvNeXt"}}
    cfg = Config({"model": model})
    assert use_own_convnext(cfg) == []
    assert cfg.model.to_dict() == model


def test_a_config_of_classes_goes_on_working(tmp_path: Path):
    """mmengine's newer style, in which `type` is the class itself."""
    file = tmp_path / "lazy.py"
    file.write_text(
        "from mmconvnext.backbones import ConvNeXt\n"
        "model = dict(backbone=dict(type=ConvNeXt), other=dict(type='mmpretrain.ConvNeXt'))\n"
    )
    cfg = Config.fromfile(file)
    assert use_own_convnext(cfg) == [RENAMED]
    cfg.dump(tmp_path / "written.py")
    again = Config.fromfile(tmp_path / "written.py").model
    assert again.backbone.type == "mmconvnext.backbones.ConvNeXt"
    assert again.other.type == "mmconvnext.ConvNeXt"


@pytest.mark.parametrize("installed", [True, False], ids=["installed", "a folder of that name"])
def test_nothing_is_changed_where_it_is_installed(installed, tmp_path, monkeypatch):
    (tmp_path / "mmpretrain").mkdir()
    if installed:
        (tmp_path / "mmpretrain" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    cfg = config("mmpretrain.models", model={"type": "mmpretrain.ConvNeXt"})
    before = cfg.to_dict()
    assert use_own_convnext(cfg) == ([] if installed else [IMPORTS, RENAMED])
    assert (cfg.to_dict() == before) == installed
