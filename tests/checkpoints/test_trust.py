"""Real exploits do not run when a file is read, and run when it is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exploits import CODE, PLACES, WRITERS, Exploit, assert_refusal, write_tar

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.trust import VARIABLE, trusting, trusts

CONFIG_PLACES = (
    lambda text: {"meta": {"config": text}},
    lambda text: {"meta": {"cfg": text}},
    lambda text: {"message_hub": {"runtime_info": {"cfg": text}}},
)


def refused(file: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    return str(error.value)


def read_trusted(file: Path) -> None:
    """Read; the file may be no checkpoint once its code has run."""
    try:
        read_checkpoint(file)
    except CheckpointError as error:
        assert "refused" not in str(error)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_an_exploit_runs_only_in_a_trusted_file(tmp_path, monkeypatch, capsys, place, write):
    file, ran = tmp_path / "x.pth", tmp_path / "ran"
    write(place(Exploit(ran)), file)
    assert_refusal(refused(file), file)
    assert not ran.exists()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv(VARIABLE, "1")
    read_trusted(file)
    assert ran.exists()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"mmconvnext: WARNING: checkpoint {file} is trusted (--trust-checkpoint")
    assert f"code in it may run: it refers to {CODE}" in said


@pytest.mark.parametrize("torch_version", [torch.__version__, "2.5.1+cpu"])
def test_the_first_format_is_refused(tmp_path, monkeypatch, torch_version):
    """Up to PyTorch 2.5, safe loading was not safe for it."""
    file, ran = tmp_path / "x.pth", tmp_path / "ran"
    write_tar(Exploit(ran), file)
    monkeypatch.setattr("torch.__version__", torch_version)
    if torch_version.startswith("2.5"):
        monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("was called"))
    assert_refusal(refused(file), file, "legacy .tar format")
    assert not ran.exists()


def test_torchscript_is_refused(tmp_path):
    file = tmp_path / "x.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    assert_refusal(refused(file), file, "it is one of the TorchScript archives")


def test_settings_of_pytorch_do_not_make_reading_unsafe(tmp_path, monkeypatch):
    file, ran = tmp_path / "x.pth", tmp_path / "ran"
    WRITERS["zip"](Exploit(ran), file)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert_refusal(refused(file), file)
    assert not ran.exists()


def test_the_name_is_that_of_the_harmful_global(tmp_path):
    file, ran = tmp_path / "x.pth", tmp_path / "ran"
    content = {"state_dict": {"w": torch.ones(2)}, "os": 1, "makedirs": 2, "x": Exploit(ran)}
    WRITERS["zip_protocol_4"](content, file)
    message = refused(file)
    assert_refusal(message, file)
    assert "torch." not in message.replace("torch.save", "")


def test_a_harmless_pickle_of_another_protocol_needs_trust_too(tmp_path):
    file = tmp_path / "x.pth"
    torch.save({"a": 1}, file, pickle_protocol=4)
    assert_refusal(refused(file), file, "a pickle of another protocol than torch.save's")
    with trusting():
        assert read_checkpoint(file) == {"a": 1}


@pytest.mark.parametrize("place", CONFIG_PLACES)
@pytest.mark.parametrize(
    "line",
    [
        "__import__('os').mkdir('ran')",
        "a = __import__('os').mkdir('ran')",
        "a = [dict(b=__import__('os').mkdir('ran'))]",
        "a = {'b': (1, *__import__('os').listdir())}",
        'a = f\'{__import__("os").mkdir("ran")}\'',
        "a = [b for b in ()]",
        "a = lambda: 1",
        "import os",
        "from os import mkdir",
        "class A: ...",
        "def f(): ...",
        "with read_base(): ...",
        "dict = 1",
        "a[0] = 1",
        "a.b = 1",
        "_base_ = '/tmp/other.py'",
        "a = '\\{{$NONE:}}' + '",
    ],
)
def test_code_in_a_checkpoints_config_is_refused(tmp_path, capsys, place, line):
    """mmengine runs it on resuming."""
    file = tmp_path / "x.pth"
    torch.save(place(f"model = dict(type='X')\n{line}\n"), file)
    assert_refusal(refused(file), file, "its config in me")
    with trusting():
        read_checkpoint(file)
    assert "code in it may run: its config in " in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "'''Text.'''\na = dict(b=[1, -2.5, (None, True)], c={'d': {1, 2}}, **{'e-f': set()})",
        "a = slice(1)\nb = inf\n",
        "this is = no Python",
        "",
    ],
)
def test_settings_are_no_code(tmp_path, text):
    for number, place in enumerate(CONFIG_PLACES):
        file = tmp_path / f"{number}.pth"
        torch.save(place(text), file)
        read_checkpoint(file)


def test_backbones_do_not_run_it(tmp_path):
    file, ran = tmp_path / "x.pth", tmp_path / "ran"
    WRITERS["zip"]({"model": Exploit(ran)}, file)
    arch = {"depths": [1, 1, 1, 1], "channels": [4, 4, 4, 8]}
    net = ConvNeXt(arch, init_cfg={"type": "Pretrained", "checkpoint": str(file)})
    with pytest.raises(CheckpointError) as error:
        net.init_weights()
    assert_refusal(str(error.value), file)
    assert not ran.exists()


def test_trust_is_off_unless_told_and_ends(monkeypatch):
    for value in ("", "0", "no", "false"):
        monkeypatch.setenv(VARIABLE, value)
        assert not trusts()
    monkeypatch.delenv(VARIABLE)
    assert not trusts()
    with trusting(False):
        assert not trusts()
    with trusting():
        assert trusts()
    assert not trusts()


def test_a_harmless_trusted_file_gives_no_warning(tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pth")
    with trusting():
        read_checkpoint(tmp_path / "x.pth")
    assert capsys.readouterr() == ("", "")
