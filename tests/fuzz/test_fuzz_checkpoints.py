"""Checkpoints of any layout, container and content: the right network, or one line that says why
not. What is right is known, for it is what was written."""

from __future__ import annotations

import logging
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from budget import examples
from faults import DTYPES, lacking, replaced
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layouts import contents, native, saved, with_its_norms
from mmengine.runner.checkpoint import load_checkpoint as mmengines_load_checkpoint
from sample_checkpoints import FCMAE, WITH_GRN, foreign, network
from torch import nn

from mmconvnext.checkpoints.converting import TARGETS, convert, find_networks
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.whole_model import load_checkpoint
from mmconvnext.cli.main import main

NORM = re.compile(r"norm\d\.")


def an_empty(grn: bool) -> nn.Module:
    """A network with other weights than any checkpoint."""
    return deepcopy(_network(grn))


@cache
def _network(grn: bool) -> nn.Module:
    return network(9, use_grn=grn, layer_scale_init_value=0.0 if grn else 1.0)


@pytest.fixture(autouse=True)
def in_silence():
    """Each file loaded is told in the log."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def written(content: Any, folder: Path) -> str:
    file = folder / "weights.pth"
    torch.save(content, file)
    return str(file)


def assert_loaded(net: nn.Module, native: dict[str, torch.Tensor], before: dict) -> None:
    for name, value in net.state_dict().items():
        expected = native[name].to(value.dtype) if name in native else before[name]
        assert torch.equal(value, expected), name


@settings(max_examples=examples(30))
@given(data=st.data())
def test_a_sound_file_gives_its_network(data, tmp_path):
    file = data.draw(saved())
    net = an_empty(file.grn)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = load_pretrained_backbone(net, written(file.content, tmp_path))
    assert_loaded(net, file.native, before)
    assert set(report.afresh) == set(before) - set(file.native)


@settings(max_examples=examples(30))
@given(data=st.data())
def test_a_faulty_network_is_refused_and_loads_nothing(data, tmp_path):
    file = data.draw(saved())
    needed = {k: v for k, v in file.weights.items() if not _is_output_norm(k, file)}
    wrong = data.draw(replaced(needed) | lacking(needed))
    net = an_empty(file.grn)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    checkpoint = written(data.draw(contents(wrong)), tmp_path)
    with pytest.raises(CheckpointError) as error:
        load_pretrained_backbone(net, checkpoint)
    assert_one_line(str(error.value))
    assert_loaded(net, {}, before)


def _is_output_norm(name: str, file: Any) -> bool:
    """Those may be lacking."""
    return bool(re.search(r"(^|\.)(norms?\d?|hidden_states_norms|layer_norm)\.", name)) and (
        file.known.name not in ("FCMAE",) and "stages" not in name and "embeddings" not in name
    )


def assert_one_line(message: str) -> None:
    assert message and "\n" not in message


@settings(max_examples=examples(10))
@given(data=st.data())
def test_numbers_of_other_kinds_are_read_as_what_they_are(data, tmp_path):
    file = data.draw(saved())
    dtype = data.draw(st.sampled_from(DTYPES))
    net = an_empty(file.grn)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = {key: value.to(dtype) for key, value in file.weights.items()}
    load_pretrained_backbone(net, written(weights, tmp_path))
    assert_loaded(net, {k: v.to(dtype) for k, v in file.native.items()}, before)


def under(prefix: str, weights: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in weights.items()}


# How a file has two networks, the options with which it is read, and which is meant.
WAYS: dict[str, tuple[Any, dict[str, Any], int | None]] = {
    "student": (lambda a, b: under("teacher.", b) | under("student.", a), {}, 0),
    "prefix": (lambda a, b: under("a.", a) | under("b.", b), {"prefix": "b"}, 1),
    "any": (lambda a, b: under("a.", a) | under("b.", b), {}, None),
    "trained": (lambda a, b: {"model": a, "model_ema": b}, {}, 0),
    "averaged": (lambda a, b: {"model": a, "model_ema": b}, {"ema": True}, 1),
    "timm": (lambda a, b: {"state_dict": a, "state_dict_ema": b}, {"ema": True}, 1),
    "mmengine": (lambda a, b: {"state_dict": a, "ema_state_dict": b}, {"ema": True}, 0),
}


class Model(nn.Module):
    """A backbone and a head, as a detector has them."""

    def __init__(self, grn: bool) -> None:
        super().__init__()
        self.backbone = an_empty(grn)
        self.head = nn.Linear(3, 2)


@settings(max_examples=examples(25))
@given(data=st.data())
def test_a_whole_model_gets_all_or_says_what_not(data, tmp_path):
    file = data.draw(saved(whole=True))
    model = Model(file.grn)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head = {"head.weight": torch.full((2, 3), 5.0), "head.bias": torch.full((2,), 6.0)}
    weights = {**file.weights, **head}
    # Then nothing but the fault is to be refused.
    fault = "norm0.weight" in file.native and data.draw(st.booleans())
    if fault:
        content = {"state_dict": data.draw(replaced(weights) | lacking(weights))}
    else:
        content = data.draw(contents(weights))
    load = data.draw(st.sampled_from([load_checkpoint, mmengines_load_checkpoint]))
    try:
        load(model, written(content, tmp_path), strict=fault)
    except CheckpointError as error:
        assert fault
        assert_one_line(str(error))
        return
    assert not fault
    native = {f"backbone.{name}": value for name, value in file.native.items()}
    assert_loaded(model, native | head, before)


@settings(max_examples=examples(20))
@given(
    layouts=st.tuples(st.sampled_from(FORMATS), st.sampled_from(FORMATS)),
    way=st.sampled_from(sorted(WAYS)),
)
def test_of_two_networks_the_one_meant_is_taken(layouts, way, tmp_path):
    arranged, options, meant = WAYS[way]
    if way in ("student", "any"):  # of several layouts in one dict the order of FORMATS decides
        layouts = (layouts[0], layouts[0])
    grn = any(known is FCMAE for known in layouts)
    assume(not grn or all(known.name in WITH_GRN for known in layouts))
    ours = [native(grn, seed) for seed in (0, 1)]
    net = an_empty(grn)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    file = written(arranged(*map(foreign, ours, layouts)), tmp_path)
    if meant is None:
        with pytest.raises(CheckpointError, match=r"expected one network, found 2, under 'a\.', "):
            load_pretrained_backbone(net, file, **options)
    else:
        load_pretrained_backbone(net, file, **options)
        assert_loaded(net, with_its_norms(ours[meant], layouts[meant]), before)


@settings(max_examples=examples(15))
@given(file=saved(), target=st.sampled_from(sorted(TARGETS)))
def test_converting_there_and_back_changes_no_weight(file, target):
    source = "checkpoint of the test"
    weights = {k: v for k, v in file.weights.items() if torch.is_tensor(v)}
    there = convert(weights, find_networks(weights, None, source), target, backbone_only=True)
    back = convert(
        dict(there.weights), find_networks(there.weights, None, source), backbone_only=True
    )
    expected = {k: v for k, v in file.native.items() if target != "timm" or not NORM.match(k)}
    assert back.weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(back.weights[name], value), name


@settings(max_examples=examples(20))
@given(
    data=st.data(),
    target=st.sampled_from(sorted(TARGETS)),
    suffix=st.sampled_from([".pth", ".safetensors"]),
    part=st.sampled_from([[], ["--backbone-only"]]),
)
def test_the_converting_command_does_it_or_says_why_not(
    data, target, suffix, part, tmp_path, capsys
):
    file = data.draw(saved(whole=data.draw(st.booleans())))
    fault = data.draw(st.booleans())
    weights = data.draw(replaced(file.weights) | lacking(file.weights)) if fault else file.weights
    source = written(data.draw(contents(weights)), tmp_path)
    out = tmp_path / f"out{suffix}"
    out.unlink(missing_ok=True)
    status = main(["convert-checkpoint", source, str(out), "--to", target, *part])
    said = capsys.readouterr().err
    assert status == (0 if out.exists() else 2), said
    assert said.count("\n") == (0 if out.exists() else 1)
    assert out.exists() or fault or "has no name for" in said, said
