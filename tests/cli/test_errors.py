from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmconvnext.cli.errors import UsageError, report_errors
from mmconvnext.cli.main import main

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Runs a command that must end with status 2, one line and an untouched disk; returns the
    line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)

    def run(*arguments: object) -> str:
        before = files(tmp_path)
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        said = capsys.readouterr()
        assert status == 2
        assert said.err.count("\n") == 1 and said.err.endswith("\n"), said.err
        assert "Traceback" not in said.out
        assert files(tmp_path) == before
        return said.err.strip()

    return run


def test_config_not_found_names_near_ones(refused, tmp_path):
    (tmp_path / "cascade_convnext.py").write_text("a = 1\n")
    line = refused("train", "cascade_convnet.py")
    assert line.startswith("mmconvnext train: config not found: cascade_convnet.py; did you mean ")
    assert "cascade_convnext.py" in line


def test_config_not_found_in_an_absent_folder_names_the_packages_own(refused):
    line = refused("train", "configs/detection/cascade_convnext_t_cocoo.py")
    assert "mmconvnext::detection/cascade_convnext_t_coco.py" in line


def test_config_of_a_package_not_found_names_near_ones(refused):
    line = refused("test", "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_cocoo.py", "x.pth")
    assert "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py" in line


def test_missing_base_is_named_with_its_reader(refused, tmp_path):
    (tmp_path / "leaf.py").write_text("_base_ = './bass.py'\n")
    (tmp_path / "base.py").write_text("a = 1\n")
    line = refused("train", "leaf.py")
    assert "bass.py" in line and "leaf.py" in line and "did you mean base.py?" in line


@pytest.mark.parametrize("broken", ["leaf.py", "base.py"])
def test_syntax_error_names_file_and_line(refused, tmp_path, broken):
    (tmp_path / "base.py").write_text("a = 1\n")
    (tmp_path / "leaf.py").write_text("_base_ = './base.py'\nb = 2\n")
    with (tmp_path / broken).open("a") as file:
        file.write("model = dict(\n")
    line = refused("train", tmp_path / "leaf.py")
    number = len((tmp_path / broken).read_text().splitlines())
    assert f"config {tmp_path / broken}, line {number}: syntax error: " in line


def test_error_in_a_configs_code_names_file_and_line(refused, tmp_path):
    (tmp_path / "c.py").write_text("a = 1\nb = undefined\n")
    line = refused("train", tmp_path / "c.py")
    assert f"{tmp_path / 'c.py'}, line 2: NameError: name 'undefined' is not defined" in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "model.backbone.archh=1",
            "model.backbone has no 'archh' and would not read it; did you mean model.backbone.arch",
        ),
        ("model.test_cfg.modee=slide", "did you mean model.test_cfg.mode"),
        ("modle.backbone.arch=1", "there is no 'modle'"),
        ("optim_wrapper.optimizer.lrr=1", "did you mean optim_wrapper.optimizer.lr"),
        ("param_scheduler.7.end=3", "param_scheduler is a list of 2, 7 is no index of it"),
        ("train_cfg.max_iters.x=3", "it has no settings inside"),
        ("novalue", "--cfg-options takes KEY=VALUE, got 'novalue'"),
        ("work_dir=[1,(2]", "Imbalanced brackets"),
        ("model.backbone={'depths':[1,1]}", "a dict is set key by key, KEY.ITS_KEY=VALUE"),
    ],
)
def test_unknown_option_names_near_keys(refused, tiny_config, option, said):
    assert said in refused("train", tiny_config("segmentation"), "--cfg-options", option)


def test_new_keys_that_would_be_read_are_accepted(refused, tiny_config):
    # What follows the keys' check is reached: the data are not there.
    line = refused(
        *("train", tiny_config("segmentation"), "--data-root", "nowhere", "--cfg-options"),
        *(
            "model.backbone.drop_path_rate=0.2",
            "optim_wrapper.clip_grad.max_norm=1.0",
            "work_dir=x",
        ),
        *("train_dataloader.prefetch_factor=2", "randomness.deterministic=True"),
        *(
            "model.test_cfg.crop_size=(64,64)",
            "train_dataloader.dataset.indices=3",
            "param_scheduler.0.end=5",
            "model.backbone.init_cfg=None",
        ),
    )
    assert "data folder nowhere does not exist" in line


def test_missing_data_folder_says_where_the_data_can_be_had(refused, tiny_config):
    ades = "dict(type='ADE20KDataset', metainfo=dict(_delete_=True))"
    config = tiny_config("segmentation", f"train_dataloader = dict(dataset={ades})")
    line = refused("train", config, "--data-root", "nowhere")
    assert "train_dataloader: data folder nowhere does not exist" in line
    assert "ADEChallengeData2016.zip" in line and "--data-root" in line
    cocos = "dict(dataset=dict(metainfo=dict(_delete_=True)))"
    config = tiny_config("detection", f"train_dataloader = dict(dataset={cocos})")
    assert "https://cocodataset.org" in refused("train", config, "--data-root", "nowhere")


def test_missing_data_folder_of_own_classes_names_the_setting(refused, tiny_config):
    line = refused("train", tiny_config("detection"), "--data-root", "nowhere")
    assert (
        "train_dataloader: data folder nowhere does not exist; set the dataset's data_root" in line
    )


def test_missing_annotation_file_is_named(refused, tiny_config, own_data):
    missing = own_data["detection"] / "annotations/instances_val.json"
    missing.unlink()
    line = refused("train", tiny_config("detection"), "--data-root", own_data["detection"])
    assert f"val_dataloader: annotation file {missing} does not exist" in line


def test_annotations_that_are_not_coco_are_refused(refused, tiny_config, own_data):
    path = own_data["detection"] / "annotations/instances_train.json"
    path.write_text(json.dumps({"shapes": [], "version": 1}))
    line = refused("train", tiny_config("detection"), "--data-root", own_data["detection"])
    assert f"annotation file {path} is not COCO JSON: no list 'images' in it" in line


def test_absent_images_are_counted(refused, tiny_config, own_data):
    root = own_data["detection"]
    for number in (1, 3):
        (root / f"images/train/00000{number}.png").unlink()
    line = refused("train", tiny_config("detection"), "--data-root", root)
    assert "2 of 4 images named in" in line and line.endswith(
        "000001.png, " + str(root / "images/train/000003.png")
    )


def test_images_without_masks_are_counted(refused, tiny_config, own_data):
    root = own_data["segmentation"]
    (root / "annotations/training/000002.png").unlink()
    line = refused("train", tiny_config("segmentation"), "--data-root", root)
    assert "1 of 4 images" in line and line.endswith(": 000002")


def test_head_with_other_classes_than_the_data_is_refused(refused, tiny_config, shapes):
    for task, key, number in (
        ("detection", "model.roi_head.bbox_head.num_classes", 3),
        ("segmentation", "model.auxiliary_head.num_classes", 4),
    ):
        line = refused(
            "train", tiny_config(task), "--data-root", shapes[task], "--cfg-options", f"{key}=150"
        )
        assert f"classes disagree: {key}=150, but train_dataloader" in line
        assert f"has {number} classes; set num_classes={number}" in line


def test_classes_that_the_annotations_lack_are_refused(refused, tiny_config, shapes):
    config = tiny_config(
        "detection",
        "train_dataloader = dict(dataset=dict(dataset=dict(metainfo=dict(classes=('circle', "
        "'cube', 'triangle')))))",
    )
    line = refused("train", config, "--data-root", shapes["detection"])
    assert "it lacks cube of the config's 3" in line


def test_classes_given_as_a_string_are_refused(refused, tiny_config, shapes):
    config = tiny_config(
        "detection",
        "train_dataloader = dict(dataset=dict(dataset=dict(metainfo=dict(classes=('circle')))))",
    )
    assert "a tuple of one needs a comma: ('circle',)" in refused(
        "train", config, "--data-root", shapes["detection"]
    )


def test_annotations_without_the_masks_to_load_are_refused(refused, tiny_config, own_data):
    file = own_data["detection"] / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"][1:]:
        del annotation["segmentation"]
    file.write_text(json.dumps(content))
    steps = "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)]"
    config = tiny_config(
        "detection",
        f"train_dataloader = dict(dataset=dict(dataset=dict(pipeline={steps})))",
    )
    line = refused("train", config, "--data-root", own_data["detection"])
    count = len(content["annotations"])
    assert f"{count - 1} of {count} annotations in {file} have no 'segmentation'" in line


def test_a_part_of_ade20ks_classes_is_loaded_from_masks_of_all(tiny_config, own_data, capsys):
    """mmseg maps the other classes to "not labelled"."""
    part = "dict(type='ADE20KDataset', metainfo=dict(_delete_=True, classes=('wall', 'sky')))"
    config = tiny_config("segmentation", f"train_dataloader = dict(dataset={part})")
    heads = ("model.decode_head.num_classes=2", "model.auxiliary_head.num_classes=2")
    where = ("--data-root", str(own_data["segmentation"]))
    assert main(["train", str(config), *where, "--cfg-options", *heads]) == 2
    # Not its masks, whose values go to 4, but the next data set is what it stops at.
    assert "but val_dataloader (BaseSegDataset) has 4 classes" in capsys.readouterr().err


@pytest.fixture
def checkpoint(tiny_config, shapes, tmp_path):
    """A whole checkpoint of the tiny segmentor, and the command that tests it."""
    config = tiny_config("segmentation")
    where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / "made")]
    assert main(["train", str(config), "--max-iters", "1", *where]) == 0
    return tmp_path / "made" / "iter_1.pth"


def test_bad_checkpoints_are_refused(refused, tiny_config, shapes, checkpoint, tmp_path):
    config, where = tiny_config("segmentation"), ("--data-root", shapes["segmentation"])
    for command in (("test", config, "absent.pth"), ("train", config, "--resume", "absent.pth")):
        assert "checkpoint not found: absent.pth" in refused(*command, *where)

    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    for command in (
        ("test", config, cut),
        ("train", config, "--resume", cut),
        ("train", config, "--cfg-options", f"load_from={cut}"),
    ):
        assert f"checkpoint {cut}: damaged or cut off" in refused(*command, *where)

    wider = ("--cfg-options", "model.decode_head.channels=9")
    for command in (("test", config, checkpoint), ("train", config, "--resume", checkpoint)):
        line = refused(*command, *where, *wider)
        assert "is of another architecture" in line and "of another shape (decode_head." in line
        assert "(8, 64, 3, 3) instead of (9, 64, 3, 3)" in line

    deeper = tiny_config(
        "segmentation", "model = dict(backbone=dict(arch=dict(depths=[2, 1, 1, 1])))", "deeper.py"
    )
    line = refused("train", deeper, *where, "--cfg-options", f"load_from={checkpoint}")
    assert "expected V1 with depths 2-1-1-1 and channels 8-16-32-64, found V1 with " in line

    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": torch.load(checkpoint, weights_only=False)["state_dict"]}, bare)
    assert "has no optimizer state" in refused("train", config, "--resume", bare, *where)


def test_a_new_head_on_an_old_backbone_is_no_error(checkpoint, tiny_config, shapes, tmp_path):
    status = main(
        [
            "train",
            str(tiny_config("segmentation")),
            "--data-root",
            str(shapes["segmentation"]),
            "--work-dir",
            str(tmp_path / "w"),
            "--max-iters",
            "1",
            "--cfg-options",
            "model.decode_head.channels=9",
            f"load_from={checkpoint}",
        ]
    )
    assert status == 0


def test_resuming_a_work_dir_with_a_damaged_newest_checkpoint_is_refused(
    refused, checkpoint, tiny_config, shapes
):
    checkpoint.write_bytes(b"PK")
    line = refused(
        *("train", tiny_config("segmentation"), "--data-root", shapes["segmentation"]),
        *("--work-dir", checkpoint.parent, "--resume"),
    )
    assert f"checkpoint {checkpoint}" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "the following arguments are required: CONFIG"),
        (["train", "c.py", "--max-iters", "0"], "argument --max-iters: must be at least 1"),
        (["test", "c.py", "x.pth", "--out", "x.json"], "name it .pkl"),
        (["trian"], "no command 'trian'; did you mean train?"),
        (["train", "c.py", "--device", "tpu"], "--device takes auto"),
    ],
)
def test_wrong_usage_is_one_line(refused, arguments, said):
    assert said in refused(*arguments)


def test_work_dir_that_is_a_file_is_refused(refused, tiny_config, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "is a file, a folder is needed" in refused(
        "train", tiny_config("detection"), "--work-dir", tmp_path / "file" / "sub"
    )


def test_auto_scale_lr_needs_a_base_batch_size(refused, tiny_config):
    config = tiny_config("segmentation", "auto_scale_lr = dict(_delete_=True, enable=False)")
    assert "base_batch_size" in refused("train", config, "--auto-scale-lr")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("wrong"), 2, "p: wrong\n"),
        (KeyboardInterrupt(), 130, "p: interrupted\n"),
        (OSError("no\nspace"), 1, "p: OSError: no space; --debug shows the traceback\n"),
        (
            RuntimeError(
                "Caught ValueError in worker 0.\nTraceback (most recent call last):\n  File "
                "x\nValueError: bad"
            ),
            1,
            "p: ValueError: bad; --debug shows the traceback\n",
        ),
    ],
)
def test_errors_become_one_line_and_a_status(capsys, error, status, said):
    def fail():
        raise error

    assert report_errors("p", fail, debug=False) == status
    assert capsys.readouterr().err == said
    assert report_errors("p", fail, debug=True) == status
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_tool_itself_ends_with_status_two_and_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "tools/test.py"), "absent.py", "absent.pth"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "config not found: absent.py" in done.stderr
    assert not list(tmp_path.iterdir())


def test_version_and_command_list(capsys):
    for option, said in (("--version", "mmconvnext 0."), ("-h", "evaluate a checkpoint")):
        with pytest.raises(SystemExit) as ended:
            main([option])
        assert ended.value.code == 0 and said in capsys.readouterr().out
