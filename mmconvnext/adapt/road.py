"""Another stop of the road from ResNet to ConvNeXt in a config that has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.levels import STRIDES, Levels
from mmconvnext.adapt.rewiring import Rewiring
from mmconvnext.adapt.walking import dicts
from mmconvnext.backbones.archs import stage_indices
from mmconvnext.backbones.road_stops import LAST, design_of, resolve_regime


def with_road_step(cfg: Config, step: str, *, weights: str | None = None) -> Config:
    """A config with the network of another stop; ``cfg`` stays as it is.

    What reads the backbone's maps gets their channel counts: ResNet's maps are wide, ConvNeXt's
    narrow. Everything else is left alone, so that stops are trained on equal terms.

    Args:
        cfg: with a ``RoadNet`` as backbone; several change together.
        step: the stop, as ``RoadNet`` names it.
        weights: a checkpoint to start from; None: what the config says.

    Raises:
        AdaptError: no RoadNet, no such stop, or heads that do not fit the config's own stop.
    """
    adapted = deepcopy(cfg)
    owners = list(_owners(adapted.get("model") or {}))
    if not owners:
        raise AdaptError(
            "model: expected a backbone of type='mmconvnext.RoadNet', found none; "
            "begin with a config of configs/road"
        )
    for owner, path in owners:
        backbone = owner["backbone"]
        try:
            old = _levels(backbone, backbone.get("step", LAST))
            new = _levels(backbone, step)
        except ValueError as error:
            raise AdaptError(f"{path}backbone.{error}") from error
        backbone["step"] = step
        if weights is not None:
            backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
        Rewiring(owner, path, old, new).run()
    return adapted


def _owners(model: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The parts of a model that have a RoadNet as backbone, and their places."""
    for node, place in dicts(model):
        backbone = node.get("backbone")
        if isinstance(backbone, dict) and str(backbone.get("type")).endswith("RoadNet"):
            yield node, ".".join(("model", *([place] if place else ()))) + "."


def _levels(backbone: Mapping[str, Any], step: str) -> Levels:
    channels = design_of(step).arch(resolve_regime(backbone.get("regime", "resnet50"))).channels
    given = stage_indices(backbone.get("out_indices", range(len(channels))), len(channels))
    return Levels(tuple(channels[i] for i in given), tuple(STRIDES[i] for i in given))
