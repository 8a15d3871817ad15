"""What has to be the same for a run to go on."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from sample_models import CONFIGS, save_model

from mmconvnext.cli.configs import config_digest
from mmconvnext.cli.main import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_model(CONFIGS["segmentation"], tmp_path_factory.mktemp("model") / "model.pth")


@pytest.fixture
def run(tmp_path, checkpoint):
    """Runs infer on a picture into one folder, with a config of the given name and last line."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")

    def infer(name: str, line: str, *options: str) -> int:
        config = tmp_path / name
        config.parent.mkdir(exist_ok=True)
        config.write_text(f"_base_ = {str(CONFIGS['segmentation'])!r}\n{line}\n")
        command = ["infer", str(config), str(checkpoint), str(tmp_path / "picture.png")]
        where = ["--out", str(tmp_path / "out"), "--device", "cpu", "--no-pictures"]
        return main([*command, *where, *options])

    return infer


def test_a_config_that_was_changed_is_refused_and_nothing_is_touched(run, tmp_path, capsys):
    assert run("mine.py", "") == 0
    journal = (tmp_path / "out" / "results.jsonl").read_bytes()
    capsys.readouterr()
    assert run("mine.py", "model = dict(decode_head=dict(dropout_ratio=0.2))", "--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("mmconvnext infer: --resume: ")
    assert "the earlier run had config content (SHA-256) " in line
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == journal
    option = ["--cfg-options", "model.decode_head.dropout_ratio=0.2"]
    assert run("mine.py", "", "--resume", *option) == 2
    assert "had options {}, this one has {'model.decode_head" in capsys.readouterr().err
    assert run("mine.py", "# a comment", "--resume") == 0


def test_a_config_or_data_that_were_moved_are_the_same(run, tmp_path):
    assert run("mine.py", "") == 0
    assert run("elsewhere/other.py", "", "--resume", "--data-root", str(tmp_path)) == 0


def test_a_checkpoint_that_was_written_anew_is_refused(run, checkpoint, capsys):
    assert run("mine.py", "") == 0
    shutil.copyfile(checkpoint, checkpoint.with_name("copy.pth"))
    checkpoint.with_name("copy.pth").replace(checkpoint)
    assert run("mine.py", "", "--resume") == 2
    assert "the earlier run had checkpoint [" in capsys.readouterr().err


class Own:
    pass


def test_the_digest_is_of_the_content_alone():
    content = {"a": {"b": (1, 2.5, None)}, "type": Own, 3: Path("x"), "step": len}
    assert config_digest(Config(content)) == config_digest(Config(dict(content)))
    words = {"set": {"one", "two", "three", "four"}}
    assert config_digest(Config(words)) == config_digest(
        Config({"set": {"four", "three", "two", "one"}})
    )
    found = {
        config_digest(Config(other))
        for other in (content, {**content, "step": max}, {**content, "type": Path}, words, {})
    }
    assert len(found) == 5
    assert len(config_digest(Config({"step": partial(max, 1), "b": object()}))) == 64
