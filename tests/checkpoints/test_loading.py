"""Reading checkpoints and loading backbones from them: what fits is loaded exactly, what does not
is refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from email.message import Message
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.runner import Runner
from safetensors.torch import save_file
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.checkpoints.loading import (
    CheckpointError,
    check_against_model,
    compare_keys,
    load_pretrained_backbone,
    read_checkpoint,
)

TINY = {"depths": [1, 1, 4, 1], "channels": [4, 4, 4, 8]}
ADDRESS = "https://example.invalid/weights/tiny.pth"


def network(seed: int, **kwargs) -> ConvNeXt:
    torch.manual_seed(seed)
    net = ConvNeXt(**{"arch": TINY} | kwargs)
    for param in net.parameters():
        nn.init.normal_(param)
    return net


def authors_weights(net: ConvNeXt) -> dict:
    """As the authors' classification files have them: one final norm and a head, no norm of the
    stages' outputs."""
    weights = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith("norm")}
    width = net.norm3.weight.shape[0]
    weights |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    return weights | {"head.weight": torch.ones(10, width), "head.bias": torch.zeros(10)}


@pytest.fixture
def save(tmp_path):
    def write(content, name="weights.pth", **kwargs) -> str:
        torch.save(content, tmp_path / name, **kwargs)
        return str(tmp_path / name)

    return write


@pytest.fixture
def log(monkeypatch):
    from mmengine.logging import MMLogger

    lines: list[str] = []
    monkeypatch.setattr(MMLogger, "info", lambda self, message: lines.append(message))
    return lines


def error_of(function, *args) -> str:
    with pytest.raises(CheckpointError) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_loaded(net: ConvNeXt, source: ConvNeXt, but: tuple[str, ...] = ()) -> None:
    for key, value in source.state_dict().items():
        if not key.startswith(but):
            torch.testing.assert_close(net.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_authors_classifier_loads_all_but_the_output_norms(save, log):
    source, net = network(0), network(1)
    norms = {k: v.clone() for k, v in net.state_dict().items() if k.startswith("norm")}
    file = save({"model": authors_weights(source)})
    load_pretrained_backbone(net, file)
    assert_loaded(net, source, but=("norm",))
    for key, value in norms.items():
        torch.testing.assert_close(net.state_dict()[key], value, rtol=0, atol=0)
    count = len(source.state_dict()) - 8
    assert log == [
        f"ConvNeXt from {file}: {count} tensors loaded; "
        "dropped: 4 (norm.weight, norm.bias, head.weight, …); "
        "initialised afresh: 8 (norm0.weight, norm0.bias, norm1.weight, …)"
    ]


def with_prefix(net: nn.Module, prefix: str) -> dict:
    weights = {prefix + key: value for key, value in net.state_dict().items()}
    return weights | {"neck.conv.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("pack", "prefix"),
    [
        (lambda net: net.state_dict(), None),
        (lambda net: {"state_dict": net.state_dict(), "meta": {"epoch": 3}}, None),
        (lambda net: {"state_dict": with_prefix(net, "backbone.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "module.backbone.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "student.net.")}, "student.net"),
        (lambda net: {"model": with_prefix(net, "student.net.")}, "student.net."),
    ],
)
def test_layouts_load_exactly(save, pack, prefix):
    source, net = network(0), network(1)
    load_pretrained_backbone(net, save(pack(source)), prefix)
    assert_loaded(net, source)


def test_v2_weights_load_exactly(save):
    source, net = network(0, use_grn=True), network(1, use_grn=True)
    load_pretrained_backbone(net, save({"model": authors_weights(source)}))
    assert_loaded(net, source, but=("norm",))


def test_safetensors_load_exactly(tmp_path):
    source, net = network(0), network(1)
    file = str(tmp_path / "weights.safetensors")
    save_file(dict(source.state_dict()), file)
    load_pretrained_backbone(net, file)
    assert_loaded(net, source)


def test_init_weights_reads_the_file(save):
    source = network(0)
    file = save({"model": authors_weights(source)})
    net = ConvNeXt(TINY, init_cfg={"type": "Pretrained", "checkpoint": file})
    net.init_weights()
    assert_loaded(net, source, but=("norm",))
    torch.testing.assert_close(net.norm2.weight, torch.ones(4))


def broken(**changes) -> dict:
    weights = authors_weights(network(0)) | changes
    return {key: value for key, value in weights.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            authors_weights(network(0, arch={"depths": [1, 1, 3, 1], "channels": [4, 4, 4, 8]})),
            "of 87 keys 9 missing from it (stages.2.3.gamma, stages.2.3.dwconv.weight, ",
        ),
        (
            authors_weights(network(0, arch={"depths": [1, 1, 5, 1], "channels": [4, 4, 4, 8]})),
            "of 87 keys 9 unknown to the model (stages.2.4.gamma, ",
        ),
        (
            broken(**{"stages.0.0.gamma": torch.zeros(5)}),
            "of 87 keys 1 of another shape (stages.0.0.gamma (5,) instead of (4,))",
        ),
        (
            authors_weights(network(0, arch={"depths": [1, 1, 4, 1], "channels": [6, 6, 6, 6]})),
            "of another shape (downsample_layers.0.0.weight (6, 3, 4, 4) instead of (4,",
        ),
        (broken(**{"downsample_layers.0.1.bias": None}), "1 missing from it (downsample_layers.0."),
        (
            authors_weights(network(0, use_grn=True)),
            "missing from it (stages.0.0.gamma, stages.1.0.gamma, stages.2.0.gamma, …), 14 unknown",
        ),
        (
            {"layer1.0.conv1.weight": torch.zeros(1)},
            "none of its keys is ConvNeXt's: expected 87 such as ",
        ),
        ({}, "found no tensors"),
    ],
)
def test_weights_of_another_network_are_refused(save, weights, message):
    net = network(1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    file = save({"model": weights})
    error = error_of(load_pretrained_backbone, net, file)
    assert message in error
    assert error.startswith(f"checkpoint {file}")
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_prefix_that_is_not_in_the_file_is_refused(save):
    error = error_of(load_pretrained_backbone, network(0), save(network(0).state_dict()), "encoder")
    assert "expected keys that begin with 'encoder.' (init_cfg.prefix), found " in error


def test_keys_and_shapes_are_compared():
    model = {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}
    report = compare_keys(
        model | {"bn.num_batches_tracked": torch.zeros(())},
        {"a": torch.ones(2), "b": torch.ones(3), "d": torch.ones(1)},
    )
    assert (report.total, report.matched, report.missing) == (4, ("a",), ("c",))
    assert (report.unknown, report.reshaped) == (("d",), ("b (3,) instead of (2,)",))


def test_whole_model_is_compared_strictly():
    model = nn.Linear(2, 2)
    check_against_model(model, model.state_dict(), "x.pth")
    error = error_of(
        check_against_model, model, {"weight": torch.zeros(2, 2), "head": torch.zeros(1)}, "x.pth"
    )
    assert error == (
        "checkpoint x.pth is of another architecture than Linear: of 2 keys "
        "1 missing from it (bias), 1 unknown to the model (head)"
    )


def test_missing_file_is_named(tmp_path):
    assert error_of(read_checkpoint, tmp_path / "x.pth") == (
        f"checkpoint not found: {tmp_path / 'x.pth'}"
    )
    assert "expected a file or an http(s) address" in error_of(read_checkpoint, "s3://a/b.pth")
    assert "Is a directory" in error_of(read_checkpoint, tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(save, zipped, share):
    file = save({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=zipped)
    os.truncate(file, int(Path(file).stat().st_size * share))
    error = error_of(read_checkpoint, file)
    assert error.startswith(f"checkpoint {file}: damaged or cut off, or no checkpoint (")


def test_other_files_are_refused(save, tmp_path):
    assert "expected a dict of weights, found list" in error_of(read_checkpoint, save([1, 2]))
    for name in ("page.pth", "page.safetensors"):
        (tmp_path / name).write_text("<html>404 not found</html>" * 20)
        assert "damaged or cut off" in error_of(read_checkpoint, str(tmp_path / name))


class Exploit:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [lambda x: x, lambda x: {"model": {}, "meta": {"cfg": [x]}}])
def test_code_in_a_file_does_not_run(save, tmp_path, place, zipped):
    content = place(Exploit(tmp_path / "ran"))
    file = save(content, _use_new_zipfile_serialization=zipped)
    error = error_of(read_checkpoint, file)
    assert not (tmp_path / "ran").exists()
    assert f"checkpoint {file}: refused, since reading it could run code: " in error
    assert "mkdir" in error


def test_code_in_a_plain_pickle_does_not_run(tmp_path):
    file = tmp_path / "weights.pkl"
    for protocol in (0, 2, 4):
        file.write_bytes(pickle.dumps(Exploit(tmp_path / "ran"), protocol))
        error_of(read_checkpoint, file)
        assert not (tmp_path / "ran").exists()


def test_unknown_class_is_named(save):
    assert f"it refers to {Runner.__module__}.Runner;" in error_of(
        read_checkpoint, save({"meta": Runner})
    )


class Response(BytesIO):
    def info(self) -> Message:
        return Message()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """What the address gives: bytes, or an error to raise. Counts the downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    state = {"count": 0}

    def urlopen(request):
        state["count"] += 1
        assert request.full_url == ADDRESS
        if isinstance(state["answer"], Exception):
            raise state["answer"]
        return Response(state["answer"])

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    return state


def cached(tmp_path) -> list[str]:
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_address_is_downloaded_once(served, tmp_path):
    buffer = BytesIO()
    torch.save({"a": torch.arange(3)}, buffer)
    served["answer"] = buffer.getvalue()
    for _ in range(2):
        torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.arange(3))
    assert served["count"] == 1
    assert cached(tmp_path) == ["tiny.pth"]


def test_interrupted_download_leaves_no_file(served, tmp_path):
    buffer = BytesIO()
    torch.save({"a": torch.arange(3000)}, buffer)
    served["answer"] = buffer.getvalue()[:5000]
    error = error_of(read_checkpoint, ADDRESS)
    assert error.startswith(f"checkpoint {ADDRESS}: damaged or cut off")
    assert cached(tmp_path) == []
    served["answer"] = buffer.getvalue()
    torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.arange(3000))


def test_without_network_the_error_says_where_to_put_the_file(served, tmp_path):
    served["answer"] = URLError("Name or service not known")
    place = tmp_path / "cache" / "hub" / "checkpoints" / "tiny.pth"
    assert error_of(read_checkpoint, ADDRESS) == (
        f"checkpoint {ADDRESS}: cannot be downloaded (<urlopen error Name or service not known>); "
        f"download it elsewhere and put it at {place}"
    )
    torch.save(OrderedDict(a=torch.ones(1)), place)
    torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.ones(1))
