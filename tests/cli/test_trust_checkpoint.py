"""train and test refuse checkpoints with code in them, unless told to trust them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exploits import CODE, PLACES, WRITERS, Exploit, assert_refusal
from safetensors.torch import save_file

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints import trust
from mmconvnext.cli.main import main


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The folder that an exploit makes."""
    trust._tell.cache_clear()
    return tmp_path / "ran"


@pytest.fixture
def command(tiny_config, shapes, tmp_path) -> Callable[..., int]:
    """Runs train or test on the tiny config of segmentation."""

    def run(name: str, *options: str, extra: str = "") -> int:
        config = str(tiny_config("segmentation", extra))
        where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / "work")]
        return main([name, config, *options, *where])

    return run


@pytest.fixture
def trained(trained_once) -> Path:
    """A checkpoint of one iteration, outside the work directory."""
    return trained_once("segmentation")


def way(name: str, file: Path) -> tuple[list[str], str]:
    """Arguments and config of each way to have ``file`` read."""
    pretrained = f"init_cfg=dict(type='Pretrained', checkpoint={str(file)!r})"
    return {
        "load_from": (["train"], f"load_from = {str(file)!r}"),
        "--cfg-options": (["train", "--cfg-options", f"load_from={file}"], ""),
        "--resume": (["train", "--resume", str(file)], ""),
        "init_cfg": (["train"], f"model = dict(backbone=dict({pretrained}))"),
        "test": (["test", str(file)], ""),
    }[name]


WAYS = ("load_from", "--cfg-options", "--resume", "init_cfg", "test")


@pytest.mark.parametrize("writer", ["zip", "old", "raw_2", "raw_4"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", WAYS)
def test_code_does_not_run(command, ran, tmp_path, capsys, name, place, writer):
    file = tmp_path / "evil.pth"
    WRITERS[writer](PLACES[place](Exploit(ran)), file)
    arguments, extra = way(name, file)
    assert command(*arguments, extra=extra) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert_refusal(said.strip().partition(": ")[2], file)
    assert not ran.exists()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("by", ["option", "variable"])
@pytest.mark.parametrize("name", WAYS)
def test_a_trusted_checkpoint_is_used_whole(
    command, ran, trained, tmp_path, monkeypatch, capfd, name, by
):
    file = tmp_path / "evil.pth"
    torch.save(torch.load(trained, weights_only=True) | {"x": Exploit(ran)}, file)
    arguments, extra = way(name, file)
    if by == "variable":
        monkeypatch.setenv(trust.VARIABLE, "1")
    else:
        arguments.insert(1, "--trust-checkpoint")
    more = [] if name == "test" else ["--max-iters", "2"]
    assert command(*arguments, *more, extra=extra) == 0
    assert ran.exists()
    warning = [s for s in capfd.readouterr().err.splitlines() if "mmconvnext: WARNING" in s]
    assert len(warning) == 1
    assert f"checkpoint {file} is trusted" in warning[0] and CODE in warning[0]
    assert trust.trusts() == (by == "variable")
    for dumped in (tmp_path / "work").rglob("*.py"):
        text = dumped.read_text()
        assert "trust_checkpoint" not in text and trust.VARIABLE not in text


def test_safetensors_can_be_trained_from_and_tested(command, trained, tmp_path, capsys):
    file = tmp_path / "x.safetensors"
    save_file(torch.load(trained, weights_only=True)["state_dict"], file)
    assert command("train", "--max-iters", "1", extra=f"load_from = {str(file)!r}") == 0
    assert command("test", str(file)) == 0
    assert "mIoU" in capsys.readouterr().out
    assert command("train", "--resume", str(file)) == 2
    assert "has no optimizer state" in capsys.readouterr().err


def test_converting_refuses_and_trusts_alike(ran, tmp_path, capsys) -> None:
    net = ConvNeXt(dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16]))
    file, target = tmp_path / "evil.pth", tmp_path / "native.safetensors"
    torch.save({"state_dict": net.state_dict(), "meta": {"epoch": Exploit(ran)}}, file)
    assert main(["convert-checkpoint", str(file), str(target)]) == 2
    assert_refusal(capsys.readouterr().err.strip(), file)
    assert not ran.exists() and not target.exists()
    assert main(["convert-checkpoint", str(file), str(target), "--trust-checkpoint"]) == 0
    assert ran.exists() and target.exists()
    assert f"checkpoint {file} is trusted" in capsys.readouterr().err
