"""Infer given pictures, files and options that it cannot work with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from exploits import Exploit, assert_refusal
from sample_infer import ALL, infer, names_below, read

from mmconvnext.cli.main import main
from mmconvnext.inference import CompilerError


def test_bad_pictures_are_named_and_the_rest_is_done(models, photos, tmp_path, capsys):
    (photos / "a" / "1.jpg").write_bytes((photos / "a" / "1.jpg").read_bytes()[:1000])
    (photos / "b" / "1.jpg").write_bytes(b"")
    out = tmp_path / "out"
    inputs = [photos, photos / "notes.txt"]
    assert infer(models, "segmentation", *inputs, "--out", out, "--batch-size", 2) == 1
    said = capsys.readouterr().err.splitlines()[-4:]
    for name, line in zip(("a/1.jpg", "b/1.jpg", "notes.txt"), said, strict=False):
        assert line.startswith(f"mmconvnext infer: skipped {name!r}: picture {photos / name} ")
    assert said[3].startswith("mmconvnext infer: 3 skipped, all named in ")
    listed = (out / "skipped.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in listed] == ["a/1.jpg", "b/1.jpg", "notes.txt"]
    assert len(read(out / "images.json")["images"]) == 3


@pytest.mark.parametrize("batch", [1, 3])
def test_a_picture_too_small_for_the_network_is_skipped(models, photos, tmp_path, batch, capsys):
    cv2.imwrite(str(photos / "a" / "0.png"), np.zeros((8, 64, 3), np.uint8))
    out = tmp_path / "out"
    assert infer(models, "segmentation", photos, "--out", out, "--batch-size", batch) == 1
    assert "skipped 'a/0.png': the network fails on it" in capsys.readouterr().err
    assert names_below(out / "pictures") == ALL


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": "none.pth"}, "none.pth"),
        ({"config": "none.py"}, "config not found"),
        ({"inputs": ["none.jpg"]}, "input none.jpg: expected a picture"),
        ({"inputs": ["none/*.jpg"]}, "found nothing of that name"),
        ({"options": ["--score-threshold", "2"]}, "from 0 to 1"),
        ({"options": ["--batch-size", "0"]}, "at least 1"),
        ({"options": ["--cfg-options", "no_such.key=1"]}, "no_such"),
        ({"options": ["--resume", "--overwrite"]}, "not allowed with"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    models, photos, tmp_path, capsys, change, said
):
    config, checkpoint = models["segmentation"]
    command = [change.get("config", config), change.get("checkpoint", checkpoint)]
    command += change.get("inputs", [str(photos)])
    out = tmp_path / "out"
    assert main(["infer", *command, "--out", str(out), *change.get("options", [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("mmconvnext infer: ") and said in line
    assert not out.exists()


def test_a_checkpoint_of_another_model_is_refused(models, photos, tmp_path, capsys):
    command = [models["detection"][0], models["segmentation"][1], str(photos)]
    assert main(["infer", *command, "--out", str(tmp_path / "out")]) == 2
    assert models["segmentation"][1] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_compile_without_a_compiler_says_so(models, photos, tmp_path, monkeypatch, capsys):
    def no_compiler(device) -> None:
        raise CompilerError("torch.compile: expected a C++ compiler")

    monkeypatch.setattr("mmconvnext.inference.predictor.check_compiler", no_compiler)
    assert infer(models, "segmentation", photos, "--out", tmp_path / "out", "--compile") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line == "mmconvnext infer: --compile: torch.compile: expected a C++ compiler"
    assert not (tmp_path / "out").exists()


def test_averaged_weights_that_are_not_there_are_told(models, photos, tmp_path, capsys):
    assert infer(models, "segmentation", photos, "--out", tmp_path / "out", "--ema") == 2
    assert "expected averaged weights" in capsys.readouterr().err


def test_code_in_a_checkpoint_does_not_run(models, photos, tmp_path, capsys):
    config, _ = models["segmentation"]
    file, ran = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"state_dict": {}, "meta": {"cfg": Exploit(ran)}}, file)
    command = ["infer", config, str(file), str(photos), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert_refusal(capsys.readouterr().err.strip().removeprefix("mmconvnext infer: "), file)
    assert not ran.exists()
    main([*command, "--trust-checkpoint"])
    assert ran.exists()
