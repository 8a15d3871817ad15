"""Converting checkpoints: metadata stays, files are whole or not there, errors are one line."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open
from safetensors.torch import save_file
from sample_checkpoints import assert_same, line, network, run, weights_in, write

ROOT = Path(__file__).parents[2]

META = {
    "epoch": 3,
    "time": "20240101_000000",
    "cfg": "model = dict()\n",
    "dataset_meta": {"classes": ("cat", "dog"), "palette": [(1, 2, 3)], "ids": {0: "a"}},
    "rate": float("inf"),
    "nothing": None,
}


def test_metadata_stays_through_both_kinds_of_file(tmp_path):
    source = write(tmp_path / "a.pth", network().state_dict(), meta=META)
    assert run(source, tmp_path / "b.safetensors") == 0
    with safe_open(tmp_path / "b.safetensors", "pt") as opened:
        texts = opened.metadata()
    assert texts["format"] == "pt"
    found = json.loads(texts["meta"])
    entry = {"version": "0.1.0", "source": "a.pth", "format": "the authors'"}
    assert found.pop("mmconvnext") == entry
    assert found == json.loads(json.dumps(META))
    assert run(tmp_path / "b.safetensors", tmp_path / "c.pth") == 0
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    assert content["meta"] == found | {"mmconvnext": entry | {"source": "b.safetensors"}}


def test_metadata_of_safetensors_stays(tmp_path):
    texts = {"format": "tf", "author": "somebody", "meta": "no JSON"}
    save_file(dict(network().state_dict()), tmp_path / "a.safetensors", texts)
    assert run(tmp_path / "a.safetensors", tmp_path / "b.pth") == 0
    meta = torch.load(tmp_path / "b.pth", weights_only=True)["meta"]
    assert (meta["safetensors"], meta["meta"]) == ({"author": "somebody"}, "no JSON")
    assert run(tmp_path / "b.pth", tmp_path / "c.safetensors") == 0
    with safe_open(tmp_path / "c.safetensors", "pt") as opened:
        found = opened.metadata()
    assert (found["format"], found["author"]) == ("pt", "somebody")
    assert json.loads(found["meta"])["meta"] == "no JSON"


def test_what_is_no_weight_is_left_out_and_told(tmp_path, capsys):
    meta = {
        "count": np.float64(1.5),
        "array": np.arange(3),
        "log": [HistoryBuffer([1.0], [1])],
        "deep": {"tensor": torch.ones(1), "fine": 1},
    }
    more = {"optimizer": {"state": {}}, "message_hub": {}, "param_schedulers": [{}]}
    source = write(tmp_path / "a.pth", network().state_dict(), meta=meta, **more)
    assert run(source, tmp_path / "b.pth") == 0
    out = capsys.readouterr().out
    assert "left out: optimizer, message_hub, param_schedulers\n" in out
    assert "left out, no plain data: meta.log[0], meta.deep.tensor\n" in out
    found = torch.load(tmp_path / "b.pth", weights_only=True)
    assert list(found) == ["state_dict", "meta"]
    del found["meta"]["mmconvnext"]
    assert found["meta"] == {"count": 1.5, "array": [0, 1, 2], "log": [], "deep": {"fine": 1}}
    assert type(found["meta"]["count"]) is float


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_stays(dtype, tmp_path):
    weights = network().to(dtype).state_dict()
    source = write(tmp_path / "a.pth", weights)
    assert run(source, tmp_path / "b.safetensors", "--to", "timm") == 0
    assert run(tmp_path / "b.safetensors", tmp_path / "c.pth") == 0
    found = weights_in(tmp_path / "c.pth")
    assert_same(found, {k: v for k, v in weights.items() if not k.startswith("norm")})


def test_shared_and_sliced_tensors(tmp_path):
    large = torch.arange(1e6)
    tied = torch.ones(3, 5).T
    heads = {"head.a": tied, "head.b": tied, "head.part": large[4:8], "head.rest": large[8:10]}
    weights = {"backbone." + key: value for key, value in network().state_dict().items()}
    source = write(tmp_path / "a.pth", weights | heads)
    for name in ("b.pth", "b.safetensors"):
        assert run(source, tmp_path / name) == 0
        assert_same(weights_in(tmp_path / name), weights | heads)
        assert (tmp_path / name).stat().st_size < 200_000


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "native.pth", network().state_dict())


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_new_folder_and_ordinary_rights(source, suffix, tmp_path):
    target = tmp_path / "new" / "folders" / f"a.{suffix}"
    assert run(source, target) == 0
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_file_is_replaced_on_demand_only(source, tmp_path, capsys):
    target = tmp_path / "a.pth"
    target.write_text("mine")
    assert run(source, target) == 2
    assert f"DST {target} exists; --force replaces it" in line(capsys)
    assert target.read_text() == "mine"
    assert run(source, target, "--force") == 0
    assert_same(weights_in(target), network().state_dict())
    assert run(target, target, "--force", "--to", "timm") == 0
    assert "stem.0.weight" in weights_in(target)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(("error", "status"), [(OSError(28, "No space left on device"), 1),
                                               (KeyboardInterrupt(), 130)])  # fmt: skip
@pytest.mark.parametrize("existing", [True, False])
def test_a_failure_midway_leaves_nothing(
    source, suffix, error, status, existing, monkeypatch, tmp_path, capsys
):
    def fail(content, file, *args) -> None:
        if isinstance(file, Path):
            file.write_bytes(b"half")
        else:
            file.write(b"half")
        raise error

    monkeypatch.setattr("torch.save", fail)
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    target = tmp_path / ("here" if existing else "new/folder") / f"a.{suffix}"
    if existing:
        target.parent.mkdir()
        target.write_text("mine")
    assert run(source, target, "--force") == status
    said = line(capsys)
    if existing:
        assert [f.name for f in target.parent.iterdir()] == [target.name]
        assert target.read_text() == "mine"
    else:
        assert [f.name for f in tmp_path.iterdir()] == ["in"]
    if status == 1:
        assert f"cannot write {target}: No space left on device" in said


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_full_disk_is_named(source, suffix, tmp_path, capsys):
    target = tmp_path / "out" / f"a.{suffix}"
    target.parent.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        status = run(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    said = line(capsys)
    assert f"cannot write {target}: File too large" in said
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"layer1.0.conv1.weight": torch.ones(1)}, "expected the weights of a ConvNeXt, found lay"),
        ({}, "expected the weights of a ConvNeXt, found no tensors"),
        ({"downsample_layers.0.0.weight": None}, "expected a ConvNeXt with a stem of one 4x4 con"),
        ({"stages.2.1.norm.bias": None}, "1 missing from it (stages.2.1.norm.bias)"),
        ({"stages.2.1.norm.bias": torch.ones(3)}, "1 of another shape (stages.2.1.norm.bias (3,)"),
    ],
)
def test_what_is_no_whole_convnext_is_refused(weights, said, tmp_path, capsys):
    if any(key.startswith(("stages", "down")) for key in weights):
        weights = dict(network().state_dict()) | weights
    weights = {key: value for key, value in weights.items() if value is not None}
    source = write(tmp_path / "a.pth", weights)
    assert run(source, tmp_path / "b.pth") == 2
    assert said in line(capsys)
    assert not (tmp_path / "b.pth").exists()


def test_overlapping_stems_of_timm_are_refused(tmp_path, capsys):
    model = timm.create_model("convnext_atto_ols")
    source = write(tmp_path / "a.pth", model.state_dict())
    assert run(source, tmp_path / "b.pth") == 2
    assert "of another" in line(capsys)


@pytest.mark.parametrize(
    ("src", "dst", "said"),
    [
        ("nowhere.pth", "b.bin", "b.bin: expected a file ending in .safetensors, .pth, .pt"),
        ("nowhere.pth", "b.pth", "checkpoint not found: nowhere.pth"),
        ("in/native.pth", "in/native.pth/b.pth", "native.pth is no folder that can be written"),
        ("in/native.pth", "folder.pth", "expected a file, found a folder"),
    ],
)
def test_bad_input_is_one_line(source, src, dst, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.pth").mkdir()
    assert run(src, dst) == 2
    assert said in line(capsys)


def test_a_damaged_file_is_one_line(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"<html>")
    assert run(tmp_path / "a.pth", tmp_path / "b.pth") == 2
    assert "damaged or cut off" in line(capsys)


def test_published_weights_bring_their_licence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mmconvnext.checkpoints.reading.read_checkpoint",
        lambda path: {"model": network().state_dict()},
    )
    assert run("convnextv2_atto_1k_224_ema", tmp_path / "a.pth") == 0
    entry = torch.load(tmp_path / "a.pth", weights_only=True)["meta"]["mmconvnext"]
    assert (entry["source"], entry["licence"]) == ("convnextv2_atto_1k_224_ema", "CC BY-NC 4.0")


def test_help_does_not_wait_for_torch():
    tool = str(ROOT / "tools" / "convert_checkpoint.py")
    argv = [sys.executable, "-X", "importtime", tool, "-h"]
    answer = subprocess.run(argv, capture_output=True, text=True)
    assert answer.returncode == 0
    assert "--backbone-only" in answer.stdout
    assert "torch" not in answer.stderr
