"""Loading weights of any known layout into a backbone, with a report."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmconvnext.checkpoints.fitting import check_network, fit_stem
from mmconvnext.checkpoints.formats import recognise
from mmconvnext.checkpoints.keys import compare_keys, shown
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.translating import Converted, to_native
from mmconvnext.checkpoints.zoo import WEIGHTS, find_weights_name

OUTPUT_NORM = re.compile(r"(.*\.)?norm\d\.(weight|bias)")
_PLACES = ("state_dict", "model")  # mmengine's and most others', the authors'
_EMA_PLACES = ("model_ema", "state_dict_ema")
MMENGINE_EMA = "ema_state_dict"
_OPTIONS = ("checkpoint", "prefix", "ema", "stem")


@dataclass(frozen=True)
class LoadReport:
    """What loading did.

    Args:
        source: the file.
        format: the layout that the backbone's weights had.
        loaded: our names of the tensors that were loaded.
        parameters: how many numbers they hold.
        dropped: why → the file's keys that were left out.
        afresh: our names of the tensors that keep their initial values.
    """

    source: str
    format: str
    loaded: tuple[str, ...]
    parameters: int
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    afresh: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The report on one line."""
        parts = [
            f"{len(self.loaded)} tensors ({self.parameters / 1e6:.1f} M parameters) from "
            f"{self.source} ({self.format})"
        ]
        parts += [
            f"dropped, {reason}: {len(keys)} ({shown(keys)})"
            for reason, keys in self.dropped.items()
        ]
        weights = WEIGHTS.get(find_weights_name(self.source) or "")
        if weights is not None and weights.licence != "MIT":
            parts.append(f"their licence: {weights.licence}")
        if self.afresh:
            parts.append(f"initialised afresh: {len(self.afresh)} ({shown(self.afresh)})")
        return "; ".join(parts)


def load_pretrained_backbone(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    *,
    ema: bool = False,
    stem: str | None = None,
) -> LoadReport:
    """Load a backbone's weights; log and return what was done.

    Args:
        module: a ConvNeXt whose weights are initialised already. The norms of its outputs
            (``norm0`` …) may be missing in the file, as they are in every classifier's; nothing
            else may.
        checkpoint: as :func:`read_checkpoint` takes it, in any layout of ``formats.py``.
        prefix: where in the file the weights are; by default wherever a network is found.
        ema: take the averaged weights beside the trained ones.
        stem: for another number of input channels than the file's: ``'average'`` gives each the
            mean of the file's filters over its channels, ``'repeat'`` the file's in turn; both
            keep the output's size. By default another number is an error.

    Raises:
        CheckpointError: unreadable, or of another network: what is expected and found.
    """
    fitting = fit_backbone(module, checkpoint, prefix, ema=ema, stem=stem)
    report = load_fitting(module, *fitting, checkpoint)
    MMLogger.get_current_instance().info(f"{type(module).__name__}: {report}")
    return report


def pretrained_options(init_cfg: Any) -> list[dict[str, Any]]:
    """The arguments of :func:`load_pretrained_backbone`, by name, for each file in ``init_cfg``.

    Raises:
        ValueError: the file is lacking.
    """
    cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    found = []
    for cfg in cfgs:
        if is_pretrained(cfg):
            if "checkpoint" not in cfg:
                raise ValueError(f"init_cfg: expected the key checkpoint, found {dict(cfg)}")
            found.append({key: cfg[key] for key in _OPTIONS if key in cfg})
    return found


def is_pretrained(cfg: Mapping[str, Any]) -> bool:
    """Whether an entry of ``init_cfg`` names a file."""
    from mmengine.model import PretrainedInit  # here, because it takes long

    return cfg["type"] in ("Pretrained", PretrainedInit)


def find_weights(
    checkpoint: Mapping[str, Any], *, ema: bool = False, source: str = "checkpoint"
) -> dict[str, Tensor]:
    """The model's tensors in a file's content, without the prefixes of wrappers.

    They lie under ``state_dict``, ``model`` or at the top, averaged ones (``ema``) under
    ``model_ema`` or ``state_dict_ema``. mmengine's EMAHook saves the averaged ones as
    ``state_dict`` and the trained ones as ``ema_state_dict``; there both ways give the averaged.

    Raises:
        CheckpointError: averaged ones are asked for, and there are none.
    """
    places = _PLACES
    if ema and MMENGINE_EMA not in checkpoint:
        places = _EMA_PLACES
    inner = next((checkpoint[p] for p in places if isinstance(checkpoint.get(p), Mapping)), None)
    if ema and inner is None:
        raise CheckpointError(
            f"{source}: expected averaged weights under {' or '.join(places)}, found "
            f"{shown(list(checkpoint))}; take the trained ones, without ema"
        )
    found = checkpoint if inner is None else inner
    weights = OrderedDict(
        (_unwrapped(k), v) for k, v in found.items() if isinstance(k, str) and _is_weight(v)
    )
    # The versions of layers, by which some of them read older files.
    versions = getattr(found, "_metadata", None)
    vars(weights)["_metadata"] = {
        _unwrapped(f"{k}.").removesuffix("."): version
        for k, version in (versions.items() if isinstance(versions, Mapping) else ())
        if isinstance(version, Mapping)
    }
    return weights


def _is_weight(value: Any) -> bool:
    """Whether ``value`` holds numbers that a layer takes as they are."""
    return (
        torch.is_tensor(value)
        and value.layout is torch.strided
        and not (value.is_meta or value.is_quantized or value.is_complex())
    )


def convert_backbone(weights: Mapping[str, Tensor], prefix: str | None, source: str) -> Converted:
    """A backbone's weights under our names.

    Raises:
        CheckpointError: there is no ConvNeXt in the file, or several.
    """
    if prefix and not prefix.endswith("."):
        prefix += "."
    try:
        known = recognise(weights, prefix)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    if known is None:
        where = f" under {prefix!r} (init_cfg.prefix)" if prefix else ""
        raise CheckpointError(
            f"{source}: expected the weights of a ConvNeXt{where}, found "
            f"{shown(list(weights)) or 'no tensors'}"
        )
    return to_native(weights, *known)


def fit_backbone(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    *,
    ema: bool = False,
    stem: str | None = None,
) -> tuple[Converted, dict[str, Tensor]]:
    """What the file has, and its weights in the shapes of ``module``, which may be on the meta
    device; arguments and errors as in :func:`load_pretrained_backbone`."""
    source = f"checkpoint {checkpoint}"
    weights = find_weights(read_checkpoint(checkpoint), ema=ema, source=source)
    converted = convert_backbone(weights, prefix, source)
    expected = module.state_dict()
    found = fit_stem(converted.weights, expected, stem, source)
    check_network(found, expected, source, type(module).__name__)
    return converted, found


def load_fitting(
    module: nn.Module, converted: Converted, weights: Mapping[str, Tensor], checkpoint: str
) -> LoadReport:
    """Load ``weights``, which are known to fit, ``converted`` from a file; returns the report."""
    report = compare_keys(module.state_dict(), weights)
    module.load_state_dict({key: weights[key] for key in report.matched}, strict=False)
    unused = {"of an output that the backbone does not give": report.unknown}
    dropped = {reason: tuple(keys) for reason, keys in converted.dropped.items()}
    return LoadReport(
        checkpoint,
        converted.format.name,
        report.matched,
        sum(weights[key].numel() for key in report.matched),
        dropped | (unused if report.unknown else {}),
        report.missing,
    )


def _unwrapped(key: str) -> str:
    """``key`` without what DataParallel, EMA and torch.compile put before it."""
    key = key.replace("_orig_mod.", "")
    while key.startswith("module."):
        key = key.removeprefix("module.")
    return key
