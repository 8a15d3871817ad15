"""A file's weights under the names of another layout, to be written out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmconvnext.checkpoints.formats import AUTHORS, FORMATS, Format, recognise
from mmconvnext.checkpoints.loading import OUTPUT_NORM, convert_backbone
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.translating import CLASSIFIER, FINAL_NORM, REST, Converted, from_native

TIMM = next(known for known in FORMATS if known.name == "timm")
TARGETS: dict[str, Format | None] = {"native": None, "timm": TIMM, "authors": AUTHORS}
OUTPUT_NORMS = "norms of the outputs, which timm has not"
_MODEL_PART = "backbone"  # how mm's models call it
_LINEAR_FROM = 96  # channels; timm's narrower models have 1x1 convolutions as pointwise layers


@dataclass(frozen=True)
class Conversion:
    """What is to be written.

    Args:
        weights: under the names asked for.
        whole: of a whole model; otherwise of the backbone, without a prefix.
        dropped: why → the file's keys that were left out.
    """

    weights: Mapping[str, Tensor]
    whole: bool
    dropped: Mapping[str, list[str]]


def find_networks(
    weights: Mapping[str, Tensor], prefix: str | None, source: str
) -> list[Converted]:
    """The file's network, under our names, and behind a student's its teacher's.

    Raises:
        CheckpointError: there is none, or several of which none is a student's.
    """
    networks = [convert_backbone(weights, prefix, source)]
    rest = _without(weights, networks[0])
    while prefix is None and recognise(rest) is not None:
        networks.append(convert_backbone(rest, None, source))
        rest = _without(rest, networks[-1])
    return networks


def convert(
    weights: Mapping[str, Tensor],
    networks: list[Converted],
    to: str = "native",
    *,
    backbone_only: bool = False,
) -> Conversion:
    """Bring a file's weights under the names of ``to``.

    Args:
        weights: of the file.
        networks: in it, from :func:`find_networks`.
        to: one of TARGETS. timm has classifiers only, so for it the backbone alone is taken. A
            file that has these names already keeps its classifier.
        backbone_only: leave the other parts of a whole model out, and the prefix with them.

    Raises:
        CheckpointError: the layout asked for has no name for some of the backbone's weights.
    """
    target, network = TARGETS[to], networks[0]
    in_model = _MODEL_PART in network.prefix.split(".")
    if in_model and not backbone_only and target is not TIMM:
        return _whole_model(weights, networks, target)
    if network.format is target:
        return _already_named(weights, network)
    found, dropped = network.weights, dict(network.dropped)
    if target is TIMM:
        norms = [name for name in found if OUTPUT_NORM.fullmatch(name)]
        if norms:
            dropped[OUTPUT_NORMS] = norms
        found = _as_timm({name: value for name, value in found.items() if name not in norms})
    return Conversion(found, False, dropped)  # the authors' names are ours


def _whole_model(
    weights: Mapping[str, Tensor], networks: list[Converted], target: Format | None
) -> Conversion:
    """All of the model, its backbones under our names, which are the authors'."""
    found = dict(weights)
    dropped: dict[str, list[str]] = {}
    for network in networks:
        if network.format is target:
            continue
        rest = {key for keys in network.dropped.values() for key in keys}
        for reason in (CLASSIFIER, FINAL_NORM):
            keys = [k for k in network.dropped.get(reason, ()) if k.startswith(network.prefix)]
            if keys:
                dropped.setdefault(reason, []).extend(keys)
                rest.difference_update(keys)
        for key in weights:
            if key.startswith(network.prefix) and key not in rest:
                del found[key]
        # A wrapper's name between (`backbone.timm_model.`) is gone with the wrapper.
        parts = network.prefix.split(".")
        start = ".".join([*parts[: parts.index(_MODEL_PART) + 1], ""])
        found |= {start + name: value for name, value in network.weights.items()}
    return Conversion(found, True, dropped)


def _already_named(weights: Mapping[str, Tensor], network: Converted) -> Conversion:
    rest = set(network.dropped.get(REST, ()))
    found = {
        key.removeprefix(network.prefix): value
        for key, value in weights.items()
        if key.startswith(network.prefix) and key not in rest
    }
    outside = [
        key
        for keys in network.dropped.values()
        for key in keys
        if key in rest or not key.startswith(network.prefix)
    ]
    return Conversion(found, False, {REST: outside} if outside else {})


def _as_timm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights with timm's names and shapes."""
    try:
        found = from_native(weights, TIMM)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    narrow = found[TIMM.first_kernel].shape[0] < _LINEAR_FROM
    for name, value in found.items():
        if ".grn." in name:
            found[name] = value.reshape(-1)
        elif narrow and ".mlp.fc" in name and name.endswith(".weight"):
            found[name] = value[:, :, None, None]
    return found


def _without(weights: Mapping[str, Tensor], network: Converted) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith(network.prefix)}
