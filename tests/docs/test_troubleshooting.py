"""docs/troubleshooting.md: what it names is there, and does what it says."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.cli.main import COMMANDS
from mmconvnext.compat.mm_packages import find_config
from mmconvnext.data.checks import DataError
from mmconvnext.doctor.running import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
SHELL = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]


@pytest.mark.parametrize("line", SHELL)
def test_commands_are_taken(line) -> None:
    program, command, *argv = shlex.split(line)
    assert program == "mmconvnext"
    args = import_module(COMMANDS[command][0]).parser().parse_args(argv)
    if hasattr(args, "config"):
        assert find_config(args.config).is_file()


def test_named_commands_options_and_recipes_exist() -> None:
    for command in re.findall(r"`mmconvnext ([a-z-]+)", PAGE):
        assert command in COMMANDS
    train = import_module(COMMANDS["train"][0]).parser().format_help()
    for option in ("--amp", "--cfg-options", "--resume", "--backbone", "--weights"):
        assert option in train and option in PAGE
    configs = find_config("mmconvnext::_base_/runtime.py").parents[1]
    for name in re.findall(r"`(\w+\.py)`", PAGE):
        assert list(configs.rglob(name)), name


def test_links_lead_somewhere() -> None:
    for target, _, anchor in re.findall(r"\]\(([\w.]+)(#([\w-]+))?\)", PAGE):
        text = (DOCS / target).read_text(encoding="utf-8")
        heads = [re.sub(r"[^\w -]", "", h).lower() for h in re.findall(r"^#+ (.*)", text, re.M)]
        assert not anchor or anchor in [head.replace(" ", "-") for head in heads]


def test_every_package_problem_has_a_check() -> None:
    assert {"mmcv", "PyTorch", "mmengine", "mmpretrain", "arrays", "shared memory"} <= set(CHECKS)


def test_v2_and_dinov3_recipes_are_what_is_said() -> None:
    pytest.importorskip("mmdet")
    v2 = Config.fromfile("mmconvnext::detection/mask_rcnn_convnextv2_b_fcmae_coco.py")
    assert v2.model.backbone.use_grn
    dinov3 = Config.fromfile("mmconvnext::detection/cascade_convnext_t_dinov3_coco.py")
    assert "dinov3" in dinov3.model.backbone.init_cfg.checkpoint


@pytest.mark.parametrize("recompute", ["auto", "activation", "mlp", "block"])
def test_memory_options_reach_the_network(recompute) -> None:
    from mmconvnext.backbones import ConvNeXt
    from mmconvnext.cli.configs import load_config

    recipe = "mmconvnext::detection/mask_rcnn_convnext_t_coco.py"
    cfg = load_config(recipe, {"model.backbone.recompute": recompute})
    assert cfg.model.backbone.recompute == recompute
    ConvNeXt(arch="atto", recompute=recompute)


def test_classes_that_disagree_are_told_before_the_start(tiny_config, shapes) -> None:
    pytest.importorskip("mmdet")
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.datasets import check_loader
    from mmconvnext.cli.overrides import set_data_root

    wrong = {"model.roi_head.bbox_head.num_classes": 80}
    cfg = load_config(str(tiny_config("detection")), wrong)
    set_data_root(cfg, str(shapes["detection"]))
    with pytest.raises(DataError, match="classes disagree"):
        check_loader(cfg, "train_dataloader")
