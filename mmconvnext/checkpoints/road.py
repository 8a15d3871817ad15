"""Weights for a stop of the road from ResNet to ConvNeXt (``backbones/road.py``)."""

from __future__ import annotations

from typing import Any

from mmengine.logging import MMLogger

from mmconvnext.checkpoints.fitting import OUTPUT_NORM, fit_stem
from mmconvnext.checkpoints.formats import FORMATS, Format, recognise
from mmconvnext.checkpoints.keys import compare_keys, shown
from mmconvnext.checkpoints.loading import LoadReport, find_weights, load_fitting
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.translating import to_native

_BLOCK = "stages.{s}.{b}."
RESNET = Format(
    "a ResNet's",  # torchvision's, and mmdet's and mmseg's of style='pytorch'
    (
        ("conv1.{w}", "downsample_layers.0.0.{w}"),
        ("bn1.{w}", "downsample_layers.0.1.{w}"),
        *(
            (f"layer{stage + 1}.{{b}}.{theirs}.{{w}}", f"stages.{stage}.{{b}}.{ours}.{{w}}")
            for stage in range(4)
            for theirs, ours in (
                ("conv1", "pwconv1"),
                ("bn1", "norm1"),
                ("conv2", "conv"),
                ("bn2", "norm2"),
                ("conv3", "pwconv2"),
                ("bn3", "norm3"),
                ("downsample.{n}", "shortcut.{n}"),
            )
        ),
    ),
    mark="layer1.0.conv2.weight",
)
_LAYERS = ("conv", "dwconv", "pwconv{k}", "norm", "norm1", "norm2", "norm3", "shortcut.{n}")
ROAD = Format(
    "RoadNet's",
    (
        ("downsample_layers.{s}.{n}.{w}",) * 2,
        ("norm{s}.{w}",) * 2,
        (f"{_BLOCK}gamma",) * 2,
        *((f"{_BLOCK}{name}.{{w}}",) * 2 for name in _LAYERS),
    ),
    mark="downsample_layers.0.0.weight",
)


def load_road_weights(
    module: Any, checkpoint: str, prefix: str | None = None, *, ema: bool = False
) -> LoadReport:
    """Load a stop's weights; log and return what was done.

    Args:
        module: a RoadNet.
        checkpoint: as :func:`read_checkpoint` takes it: the same stop's, for ``resnet`` a ResNet's
            too, for ``separate_downsampling`` any ConvNeXt's. The norms of outputs may be missing.
        prefix: where in the file the weights are; by default wherever a network is found.
        ema: take the averaged weights beside the trained ones.

    Raises:
        CheckpointError: unreadable, or of another network or stop: what is expected and found.
    """
    source, name = f"checkpoint {checkpoint}", f"RoadNet(step={module.step!r})"
    weights = find_weights(read_checkpoint(checkpoint), ema=ema, source=source)
    formats = {"resnet": (ROAD, RESNET), "separate_downsampling": FORMATS}
    if prefix and not prefix.endswith("."):
        prefix += "."
    try:
        known = recognise(weights, prefix, formats.get(module.step, (ROAD,)))
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    if known is None:
        raise CheckpointError(
            f"{source}: expected the weights of {name}, found {shown(list(weights))}"
        )
    converted = to_native(weights, *known)
    expected = module.state_dict()
    found = fit_stem(converted.weights, expected, None, source)
    compare_keys(expected, found).but(OUTPUT_NORM).check(source, name)
    done = load_fitting(module, converted, found, checkpoint)
    MMLogger.get_current_instance().info(f"{name}: {done}")
    return done
