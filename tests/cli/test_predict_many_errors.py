"""predict-many given what it cannot work with: one line, and nothing is written."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch
from exploits import Exploit, assert_refusal
from sample_many import finished_shards, keys, many, write_parquet, write_pictures

from mmconvnext.cli.main import main
from mmconvnext.inference import CompilerError


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": "none.pth"}, "none.pth"),
        ({"config": "none.py"}, "config not found"),
        ({"source": "none"}, "source none: expected a folder of pictures"),
        ({"options": ["--score-threshold", "2"]}, "from 0 to 1"),
        ({"options": ["--shard-size", "0"]}, "at least 1"),
        ({"options": ["--engine", "slurm"]}, "invalid choice: 'slurm'"),
        ({"options": ["--cfg-options", "no_such.key=1"]}, "no_such"),
        ({"options": ["--address", "auto"]}, "--engine ray only"),
    ],
)
def test_bad_input_is_one_line(models, pictures, tmp_path, capsys, change, said):
    config, checkpoint = models["segmentation"]
    command = [change.get("config", config), change.get("checkpoint", checkpoint)]
    command += [change.get("source", str(tmp_path / "pictures")), "--out", str(tmp_path / "out")]
    options = ["--device", "cpu", "--workers", "1", *change.get("options", [])]
    assert main(["predict-many", *command, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("mmconvnext predict-many: ") and said in line
    assert not (tmp_path / "out").exists()


def test_a_broken_or_empty_source_is_refused_as_a_whole(models, tmp_path, capsys):
    out = tmp_path / "out"
    for name, content in {"a.tar": b"no tar" * 200, "a.parquet": b"none", "a.txt": b""}.items():
        (tmp_path / name).write_bytes(content)
    write_parquet(tmp_path / "b.parquet", {"jpg": pa.array([], pa.binary())})
    for name in ("a.tar", "a.parquet", "b.parquet", "a.txt"):
        assert many(models, "segmentation", tmp_path / name, out) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"source {tmp_path / name}: expected" in line
    assert not out.exists()


def test_another_run_is_not_mixed_in(models, pictures, tmp_path, capsys):
    out, source = tmp_path / "out", tmp_path / "pictures"
    assert many(models, "segmentation", source, out) == 0
    capsys.readouterr()
    for options, said in {
        ("--score-threshold", 0.5): "had score threshold 0.0, this one has 0.5",
        ("--shard-size", 2): "had shard size 4, this one has 2",
        ("--fuse",): "had fuse False, this one has True",
    }.items():
        assert many(models, "segmentation", source, out, *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--out {out}: the earlier run {said}" in line and line.endswith(
            "or use --overwrite"
        )
    (source / "a" / "new.jpg").write_bytes(pictures["a/0000.jpg"])
    assert many(models, "segmentation", source, out) == 2
    assert "had source 4 pictures in" in capsys.readouterr().err
    assert keys(out) == list(pictures)
    assert many(models, "segmentation", source, out, "--overwrite") == 0
    assert finished_shards(out) == 2 and len(keys(out)) == 5


def test_a_folder_of_something_else_is_refused(models, pictures, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    for options in ([], ["--overwrite"]):
        assert many(models, "segmentation", tmp_path / "pictures", mine, *options) == 2
        assert "has files of something else, name a new folder" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["letter.txt"]
    assert many(models, "segmentation", tmp_path / "pictures", mine / "letter.txt") == 2
    assert "is a file, a folder is needed" in capsys.readouterr().err


def test_a_source_that_breaks_does_not_cost_the_earlier_results(models, tmp_path, capsys):
    path = write_parquet(tmp_path / "a.parquet", {"path": ["p/a/0000.jpg", "p/a/0001.jpg"]})
    write_pictures(tmp_path / "p", 4)
    out = tmp_path / "out"
    assert many(models, "segmentation", path, out) == 0
    path.write_bytes(b"none")
    assert many(models, "segmentation", path, out, "--overwrite") == 2
    assert len(keys(out)) == 2


def test_compile_without_a_compiler_says_so(models, pictures, tmp_path, monkeypatch, capsys):
    def no_compiler(device) -> None:
        raise CompilerError("torch.compile: expected a C++ compiler")

    monkeypatch.setattr("mmconvnext.inference.predictor.check_compiler", no_compiler)
    out = tmp_path / "out"
    assert many(models, "segmentation", tmp_path / "pictures", out, "--compile") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.endswith("--compile: torch.compile: expected a C++ compiler") and not out.exists()


def test_code_in_a_checkpoint_does_not_run(models, pictures, tmp_path, capsys):
    file, ran = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"state_dict": {}, "meta": {"cfg": Exploit(ran)}}, file)
    evil = {"segmentation": (models["segmentation"][0], str(file))}
    assert many(evil, "segmentation", tmp_path / "pictures", tmp_path / "out") == 2
    said = capsys.readouterr().err.strip().removeprefix("mmconvnext predict-many: ")
    assert_refusal(said, file)
    assert not ran.exists() and not (tmp_path / "out").exists()
