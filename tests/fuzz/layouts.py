"""Strategies of checkpoints: a network's weights in a layout, in a container, and with a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from sample_checkpoints import FCMAE, NORMS, WITH_GRN, foreign, network
from torch import Tensor

from mmconvnext.checkpoints.formats import FORMATS, Format

KEYS = Path(__file__).parents[1] / "fixtures" / "keys"
PREFIXES = ("", "module.", "_orig_mod.", "backbone.", "module.backbone.", "model.", "encoder.")
PREFIXES += ("student.backbone.", "module._orig_mod.detector.backbone.", "ema.", "é.")


@dataclass
class Saved:
    """A checkpoint's content.

    Args:
        known: its layout.
        prefix: what stands before the network's names.
        grn: whether it is a V2.
        native: the network's weights by our names: what has to be loaded.
        weights: the network's by the file's names.
        content: what is written.
    """

    known: Format
    prefix: str
    grn: bool
    native: dict[str, Tensor]
    weights: dict[Any, Any]
    content: dict[Any, Any]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis tells it: without the thousands of numbers."""
        others = [key for key in self.content if key not in self.weights]
        printer.text(f"{self.known.name}, {self.prefix!r}, grn={self.grn}, and {others}")


@cache
def native(grn: bool, seed: int) -> dict[str, Tensor]:
    """A network's weights by our names."""
    net = network(seed, use_grn=grn, layer_scale_init_value=0.0 if grn else 1.0)
    return net.state_dict()


def with_its_norms(weights: dict[str, Tensor], known: Format) -> dict[str, Tensor]:
    """Those of ``weights``, by our names, that a file of the layout ``known`` has."""
    kept = NORMS.get(known.name, (3,) if "DINOv3" in known.name else ())
    return {k: v for k, v in weights.items() if not k.startswith("norm") or int(k[4]) in kept}


@cache
def _other_names() -> tuple[str, ...]:
    """Names of other files, none of which marks a network."""
    names = [
        line.split()[0]
        for file in sorted(KEYS.glob("*.txt"))
        for line in file.read_text().splitlines()
        if not line.startswith("#")
    ]
    marks = tuple(known.first_kernel for known in FORMATS)
    return tuple(f"elsewhere.{name}" for name in names if not name.endswith(marks))


_tensors = st.sampled_from(
    [
        torch.zeros(()),
        torch.zeros(0),
        torch.ones(3),
        torch.full((2, 2), torch.nan),
        torch.arange(6).reshape(1, 2, 3),
        torch.ones(2, dtype=torch.bool),
    ]
)
_junk = st.sampled_from([None, 1, 2.5, "text", [1], (), {}, b"bytes", float("nan")]) | _tensors
# Of line breaks in a name the command line makes one line.
_printed = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
_names = (
    st.sampled_from(_other_names())
    | st.sampled_from(["head.fc.weight", "fc.bias", "classifier.2.weight", "head.norm.weight"])
    | st.text(_printed, max_size=20).map(lambda text: f"x{text}")
    | st.integers(10, 5000).map(lambda length: "y" * length)
    | st.sampled_from([0, 1.5, None, True, (1, 2)])
)
_noise = st.dictionaries(_names, _junk, max_size=4)


@st.composite
def saved(draw: Callable[[Any], Any], whole: bool = False) -> Saved:
    """A checkpoint without a fault; ``whole``: of a model whose backbone has the weights."""
    known = draw(st.sampled_from(FORMATS))
    grn = known is FCMAE or (known.name in WITH_GRN and draw(st.booleans()))
    ours = native(grn, draw(st.integers(0, 2)))
    prefix = "backbone." if whole else draw(st.sampled_from(PREFIXES))
    weights = {prefix + key: value for key, value in foreign(ours, known).items()}
    ours = with_its_norms(ours, known)
    return Saved(known, prefix, grn, ours, weights, draw(contents(weights)))


@st.composite
def contents(draw: Callable[[Any], Any], weights: dict[Any, Any]) -> dict[Any, Any]:
    """``weights`` and other things, in one of the places where files have them."""
    inner = {**draw(_noise), **weights, **draw(_noise)}
    others = {k: v for k, v in draw(_noise).items() if not isinstance(v, Tensor)}
    place = draw(st.sampled_from(["", "state_dict", "model"]))
    return {**others, place: inner} if place else inner
