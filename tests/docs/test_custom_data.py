"""docs/custom_data.md, done as it says: its configs run, and what it lets one forget is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmconvnext.cli.main import main
from mmconvnext.data.coco_file import COCO_CLASSES
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

PAGE = (Path(__file__).parents[2] / "docs" / "custom_data.md").read_text(encoding="utf-8")
CONFIGS = dict(
    zip(("shapes.py", "masks.py"), re.findall(r"```python\n(.*?)```", PAGE, re.S), strict=True)
)
TABLES = re.findall(r"\| --- \| --- \|\n((?:\|.*\n)+)", PAGE)
ROWS = [
    pytest.param(name, *re.fullmatch(r"\| (.*?) \| (.*) \|", line).groups(), id=f"{name}-{number}")
    for name, table in zip(CONFIGS, TABLES, strict=True)
    for number, line in enumerate(table.splitlines())
]
SPEC = ShapesSpec(train=60, val=20)  # the page's, as a test makes sure
# The recipes' networks and pictures, but for their sizes.
CHANNELS = [8, 16, 32, 64]
SMALL_BACKBONE = f"""
small = dict(
    _delete_=True,
    type="mmconvnext.ConvNeXt",
    arch=dict(depths=[1, 1, 1, 1], channels={CHANNELS}),
)
"""
SMALL = {
    "shapes.py": f"""{SMALL_BACKBONE}
model = dict(
    backbone=small,
    neck=dict(in_channels={CHANNELS}),
    train_cfg=dict(rpn_proposal=dict(max_per_img=20), rcnn=dict(sampler=dict(num=8))),
    test_cfg=dict(rpn=dict(max_per_img=10), rcnn=dict(score_thr=0.0, max_per_img=5)),
)
short = [dict(type="RandomChoiceResize", scales=[(64, 64)], keep_ratio=True)]
train_pipeline = _base_.train_pipeline
train_pipeline[3]["transforms"] = [short, short]
test_pipeline = _base_.test_pipeline
test_pipeline[1]["scale"] = (64, 64)
""",
    "masks.py": f"""{SMALL_BACKBONE}
head = dict(channels=8)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=small,
    decode_head=dict(in_channels={CHANNELS}, **head),
    auxiliary_head=dict(in_channels={CHANNELS[2]}, **head),
    test_cfg=dict(crop_size=(64, 64), stride=(64, 64)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[2]["scale"] = (256, 64)
train_pipeline[3]["crop_size"] = (64, 64)
test_pipeline = _base_.test_pipeline
test_pipeline[1]["scale"] = (256, 64)
""",
}
LOADERS = """
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, indices=2)
)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_coco_shapes(root / "shapes", SPEC)
    make_ade_shapes(root / "shapes_masks", SPEC)
    return root


@pytest.fixture
def folder(data, tmp_path, monkeypatch) -> Path:
    """The current folder, with links in it to the page's data: not to be changed."""
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    for path in data.iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    return tmp_path


def test_the_pages_data_are_those_used_here():
    (spec,) = set(re.findall(r"ShapesSpec\(.*?\)", PAGE))
    assert eval(spec, {"ShapesSpec": ShapesSpec}) == SPEC


def small(name: str) -> str:
    """Writes a config over the page's ``name`` that makes the network small; returns its name."""
    Path(f"small_{name}").write_text(f'_base_ = "./{name}"\n{SMALL[name]}{LOADERS}')
    return f"small_{name}"


def run(*arguments: str) -> None:
    assert main([*arguments, "--device", "cpu"]) == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pages_config_trains_and_tests(name, folder, capsys):
    Path(name).write_text(CONFIGS[name])
    config = small(name)
    run("train", config, "--max-iters", "1", "--seed", "0")
    assert "Iter(train) [1/1]" in capsys.readouterr().out
    run("test", config, f"work_dirs/{Path(config).stem}/iter_1.pth", "--show-dir", "painted")
    assert ("coco/bbox_mAP" if name == "shapes.py" else "mIoU") in capsys.readouterr().out
    assert len(list(Path("painted").rglob("*.png"))) == 2


def test_the_cascades_heads_take_the_pages_line(folder, capsys):
    (line,) = re.findall(r"`(bbox_head=\[.*?\])`", PAGE)
    text = CONFIGS["shapes.py"].replace("mask_rcnn_convnext", "cascade_convnext")
    Path("shapes.py").write_text(text.replace("bbox_head=dict(num_classes=3)", line))
    heads = Config.fromfile("shapes.py").model.roi_head.bbox_head
    assert [head.num_classes for head in heads] == [3, 3, 3]
    # Weights are checked last: what comes before passes.
    assert main(["train", "shapes.py", "--cfg-options", "load_from=absent.pth"]) == 2
    assert "checkpoint not found: absent.pth" in capsys.readouterr().err


def test_masks_whose_first_class_is_0_train_with_the_pages_options(folder, data, capsys):
    Path("data/shapes_masks").unlink()
    shutil.copytree(data / "shapes_masks", "data/shapes_masks")
    for path in Path("data/shapes_masks/annotations").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) - np.uint8(1)).save(path)  # 0 becomes 255
    text = CONFIGS["masks.py"].replace("reduce_zero_label=True", "reduce_zero_label=False")
    Path("masks.py").write_text(text)
    options = re.search(r"--cfg-options\s+(train_dataloader.*?)`", PAGE, re.S).group(1).split()
    assert len(options) == 2
    run("train", small("masks.py"), "--max-iters", "1", "--cfg-options", *options)
    capsys.readouterr()
    assert main(["train", "small_masks.py", "--cfg-options", *options[:1]]) == 2
    assert "val_dataloader: the dataset has reduce_zero_label=False" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "forgotten", "said"), ROWS)
def test_what_is_forgotten_gives_the_pages_line(name, forgotten, said, folder, capsys):
    code = re.match(r"`(.*?)`", forgotten).group(1)
    if "COCO" in forgotten:
        make_coco_like_the_official()
    Path(name).write_text(without(code, CONFIGS[name]))
    before = contents(folder)
    command = said.split(":")[0].removeprefix("mmconvnext ")
    status = main([command, name, *(["absent.pth"] if command == "test" else [])])
    assert capsys.readouterr().err == f"{said}\n"
    assert status == 2 and contents(folder) == before


def without(code: str, config: str) -> str:
    """``config`` less the line that begins as ``code``, which ends in an ellipsis, or the part."""
    if code.endswith("…"):
        lines = config.splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(code[:-1])]
        assert len(kept) == len(lines) - 1
        return "".join(kept)
    assert config.count(code) == 1
    return config.replace(code, "")


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def make_coco_like_the_official() -> None:
    """Pictures under COCO's names in data/coco, with annotations of all 80 classes."""
    make_coco_shapes("data/coco", SPEC)
    for split in ("train", "val"):
        Path(f"data/coco/images/{split}").rename(f"data/coco/{split}2017")
        file = Path(f"data/coco/annotations/instances_{split}.json")
        content = json.loads(file.read_text())
        content["categories"] = [
            {"id": number, "name": name} for number, name in enumerate(COCO_CLASSES, 1)
        ]
        for image in content["images"]:
            path = Path(f"data/coco/{split}2017") / image["file_name"]
            image["file_name"] = f"{image['id']:012}.png"
            path.rename(path.with_name(image["file_name"]))
        file.with_name(f"instances_{split}2017.json").write_text(json.dumps(content))


def test_each_of_the_four_lines_is_in_the_table():
    lines = CONFIGS["shapes.py"].split("\n\n")[-1].splitlines()
    assert len(lines) == 4
    for line in lines:
        start = line.partition(" = ")[0]
        assert f"| `{start} = …` |" in PAGE
