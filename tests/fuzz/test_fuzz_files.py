"""Damaged checkpoints: read or refused in one line; no code runs, no memory is taken on trust."""

from __future__ import annotations

import io
import json
import logging
import resource
import struct
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from budget import examples
from damage import damaged
from exploits import PLACES, WRITERS, Exploit
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sample_checkpoints import network
from torch import nn

from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint

MEGABYTES = 200  # that reading a file of 20 KB may take


@cache
def net() -> nn.Module:
    return network(0)


@cache
def whole(kind: str) -> bytes:
    """A checkpoint's bytes."""
    weights = net().state_dict()
    if kind == "safetensors":
        return save(weights)
    buffer = io.BytesIO()
    content = {"state_dict": weights, "meta": {"epoch": 1, "cfg": "a = 1"}, "optimizer": {}}
    torch.save(content, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def in_silence():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def most_memory() -> float:
    """Megabytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_or_refuse(file: Path) -> None:
    before = most_memory()
    for read in (read_checkpoint, lambda path: load_pretrained_backbone(deepcopy(net()), path)):
        try:
            read(str(file))
        except CheckpointError as error:
            assert str(error) and "\n" not in str(error)
            assert str(file) in str(error)
    assert most_memory() - before < MEGABYTES


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
@settings(max_examples=examples(60))
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(kind, data, tmp_path):
    file = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}"
    file.write_bytes(data.draw(damaged(whole(kind))))
    read_or_refuse(file)


@settings(max_examples=examples(60))
@given(
    data=st.data(),
    writer=st.sampled_from(sorted(WRITERS)),
    place=st.sampled_from(sorted(PLACES)),
)
def test_damage_does_not_let_code_run(data, writer, place, tmp_path):
    made, file = tmp_path / "made", tmp_path / "weights.pth"
    WRITERS[writer](PLACES[place](Exploit(made)), file)
    file.write_bytes(data.draw(st.just(file.read_bytes()) | damaged(file.read_bytes())))
    read_or_refuse(file)
    assert not made.exists()


@st.composite
def headers(draw) -> bytes:
    """A .safetensors file whose header says what it likes."""
    numbers = st.sampled_from([-1, 0, 4, 1.5, 2**40, 2**63, 10**30, "4", None])
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F64", "BF16", "BOOL", "X", 1, None]),
            "shape": st.lists(numbers, max_size=3) | numbers,
            "data_offsets": st.lists(numbers, max_size=3) | numbers,
        }
    )
    names = st.sampled_from(["stages.0.0.dwconv.weight", "a", "__metadata__", ""])
    header = json.dumps(draw(st.dictionaries(names, entry | numbers, max_size=3))).encode()
    length = draw(st.sampled_from([len(header), len(header), 0, 2**40, 2**63]))
    return struct.pack("<Q", length) + header + draw(st.binary(max_size=64))


@settings(max_examples=examples(40))
@given(content=headers())
def test_a_header_is_not_believed(content, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    read_or_refuse(file)
