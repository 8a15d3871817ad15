"""Putting a ConvNeXt into a config: which parts, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_distributed

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.form import check_config, check_owner
from mmconvnext.adapt.levels import STRIDES, Levels, levels_of, replacement_of
from mmconvnext.adapt.names import DETECTION, SEGMENTATION, licence, settings
from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.adapt.rewiring import Rewiring, check_neck
from mmconvnext.adapt.training import BESIDE, normalise_pictures, train_as_published
from mmconvnext.backbones.archs import resolve_arch

PACKAGE = "mmconvnext"
_KEPT = {"with_cp": False, "in_channels": 3}  # of the old backbone's arguments: their defaults


@dataclass
class Adapted:
    """An adapted config, and what was changed, a line each: ``path: old -> new``."""

    config: Config
    changes: list[str] = field(default_factory=list)


def with_convnext(
    cfg: Config,
    backbone: str | Mapping[str, Any],
    *,
    weights: str | None = "auto",
    keep_optimizer: bool = False,
    distributed: bool | None = None,
) -> Adapted:
    """A config with a ConvNeXt in place of its backbone; ``cfg`` stays as it is.

    The backbone is replaced wherever it sits (``model.backbone``, ``model.detector.backbone``, a
    student's), gives its maps at the same strides (dilated ones by ``output_stride``), and what
    reads them gets its channel counts. Frozen stages stay frozen. Pictures are normalised as the
    weights expect; optimizer and layer-wise decay are the published fine-tuning's.

    Args:
        cfg: of mmdet, mmseg, or another package of the family.
        backbone: one of ``BACKBONES``, or arguments of ``ConvNeXt``.
        weights: to start from: a checkpoint; ``'auto'``: the backbone's published ones; None:
            random ones.
        keep_optimizer: leave optimizer and schedules as they are.
        distributed: whether several processes are to run it; in a single one SyncBN becomes BN.
            None: as this process runs.

    Raises:
        AdaptError: an unknown name, or what in the config stands in the way.
    """
    check_config(cfg)
    adapted = Adapted(deepcopy(cfg))
    cfg = adapted.config
    scope = cfg.get("default_scope") or "mmengine"
    task = SEGMENTATION if scope == "mmseg" else DETECTION
    wanted = settings(backbone, task, weights)
    owners = list(_owners(cfg.model, "model."))
    if not owners:
        raise AdaptError("model has no backbone (a dict with a type) that could be replaced")
    unused = False
    for owner, path in owners:
        unused |= _replace(owner, path, wanted.backbone, scope, adapted.changes)
    adapted.changes += normalise_pictures(cfg)
    if unused and not cfg.get("find_unused_parameters"):
        # The norms of maps that nothing reads get no gradient, over which DDP would stumble.
        cfg.find_unused_parameters = True
        adapted.changes.append("find_unused_parameters: True")
    if not keep_optimizer:
        adapted.changes += train_as_published(cfg, wanted.optim_wrapper)
    if not (is_distributed() if distributed is None else distributed):
        adapted.changes += plain_batch_norm(cfg.model)
    _import_package(cfg)
    return adapted


def _owners(node: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The parts of a model that have a backbone, and their places."""
    if not isinstance(node, dict):
        return
    backbone = node.get("backbone")
    if isinstance(backbone, dict) and "type" in backbone:
        yield node, path
    for key, value in node.items():
        if key not in ("backbone", *BESIDE):
            yield from _owners(value, f"{path}{key}.")


def _replace(
    owner: dict[str, Any], path: str, wanted: dict[str, Any], scope: str, changes: list[str]
) -> bool:
    """Replace one backbone, in place; returns whether some of its maps are read by nothing."""
    old, where = owner["backbone"], f"{path}backbone"
    check_owner(owner, path)
    for key, value in old.items():
        if str(key).endswith("backbone_cfg") and isinstance(value, dict) and value:
            raise AdaptError(
                f"{where} ({old['type']}) is built around the layers of {where}.{key} "
                f"({value.get('type')}); there is no place for a ConvNeXt"
            )
    check_neck(owner, path)
    levels = levels_of(old, where, old.get("_scope_") or scope)
    place = replacement_of(old, levels, where)
    new = deepcopy(wanted)
    new |= {key: old[key] for key, default in _KEPT.items() if old.get(key, default) != default}
    new["out_indices"] = place.out_indices
    if place.output_stride is not None:
        new["output_stride"] = place.output_stride
    frozen = old.get("frozen_stages", -1)
    new.pop("frozen_stages", None)
    if frozen > 0:
        new["frozen_stages"] = min(frozen, 4)
    elif frozen == 0:
        changes.append(f"{where}.frozen_stages: 0, the stem alone -> none; 1: stem and first stage")
    channels = _channels(new)
    given = Levels(tuple(channels[i] for i in place.out_indices), levels.strides)
    owner["backbone"] = new
    owner.pop("pretrained", None)
    changes.append(f"{where}: {old['type']} -> {_told(new)}")
    rewiring = Rewiring(owner, path, levels, given)
    rewiring.run()
    changes += rewiring.changes
    return rewiring.used != set(range(len(levels.channels)))


def _channels(backbone: dict[str, Any]) -> tuple[int, ...]:
    """Of the stages of a ConvNeXt with these arguments."""
    try:
        channels = resolve_arch(backbone.get("arch", "tiny")).channels
    except ValueError as error:
        raise AdaptError(str(error)) from error
    if len(channels) != len(STRIDES):
        raise AdaptError(
            f"arch: expected {len(STRIDES)} stages, of strides {', '.join(map(str, STRIDES))}, "
            f"found {len(channels)}"
        )
    return channels


def _told(backbone: dict[str, Any]) -> str:
    """A ConvNeXt's arguments in short."""
    named = {key: value for key, value in backbone.items() if key not in ("type", "init_cfg")}
    parts = [f"{key}={value}" for key, value in named.items()]
    checkpoint = (backbone.get("init_cfg") or {}).get("checkpoint")
    parts.append(f"from {checkpoint}" if checkpoint else "from random weights")
    if checkpoint and licence(checkpoint) not in ("", "MIT"):
        parts.append(f"licence {licence(checkpoint)}")
    return f"ConvNeXt({', '.join(parts)})"


def _import_package(cfg: Config) -> None:
    """Let the config be read without this package's commands."""
    imports = cfg.get("custom_imports")
    if imports is None:
        cfg.custom_imports = {"imports": [PACKAGE], "allow_failed_imports": False}
        return
    names = [imports["imports"]] if isinstance(imports["imports"], str) else imports["imports"]
    if PACKAGE not in names:
        imports["imports"] = [PACKAGE, *names]
