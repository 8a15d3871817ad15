"""Loading a whole model's weights, its ConvNeXts' in any known layout, or its ConvNeXts' alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmconvnext.checkpoints.fitting import check_network, fit_stem
from mmconvnext.checkpoints.formats import recognise
from mmconvnext.checkpoints.keys import BATCH_COUNT, KeyReport, compare_keys, shown
from mmconvnext.checkpoints.loading import LoadReport, find_weights, load_pretrained_backbone
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.translating import to_native, translate

OTHER_NETWORK = "of another network"
OTHER_SHAPE = "of another shape"
NOT_IN_MODEL = "not in the model"


def load_checkpoint(
    model: nn.Module, checkpoint: str, *, ema: bool = False, strict: bool = True
) -> LoadReport:
    """Load a whole model's weights, its ConvNeXts in whatever layout the file has them.

    Args:
        model: a detector, a segmentor, or a backbone alone.
        checkpoint: as :func:`read_checkpoint` takes it; ``strict=False`` takes a classifier's, too,
            for the model's ConvNeXt.
        ema: take the averaged weights beside the trained ones.
        strict: nothing may be missing or left over.

    Raises:
        CheckpointError: unreadable, or (always) without weights of the model's ConvNeXts, or of
            another size, or (``strict``) keys missing or left over: which, how many.
    """
    if is_convnext(model):
        return load_pretrained_backbone(model, checkpoint, ema=ema)
    content, source = read_checkpoint(checkpoint), f"checkpoint {checkpoint}"
    fitted = load_weights(model, find_weights(content, ema=ema, source=source), source)
    if strict:
        fitted.keys.check(source, type(model).__name__)
    report = fitted.report(checkpoint)
    MMLogger.get_current_instance().info(f"{type(model).__name__}: {report}")
    return report


@dataclass
class Fitted:
    """How a file's weights were brought into a model.

    Args:
        formats: the layouts that its ConvNeXts' weights had.
        dropped: why → the file's keys that were left out before the names were compared.
        keys: how the names and shapes compare after that.
        parameters: how many numbers were loaded.
    """

    formats: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    keys: KeyReport = field(default_factory=lambda: compare_keys({}, {}))
    parameters: int = 0

    def report(self, source: str) -> LoadReport:
        """What was done with the file ``source``."""
        dropped = {reason: tuple(keys) for reason, keys in self.dropped.items()}
        if self.keys.unknown:
            dropped[NOT_IN_MODEL] = self.keys.unknown
        if self.keys.reshaped:
            dropped[OTHER_SHAPE] = self.keys.reshaped
        return LoadReport(
            source,
            ", ".join(dict.fromkeys(self.formats)) or "no ConvNeXt",
            self.keys.matched,
            self.parameters,
            dropped,
            self.keys.missing,
        )


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> Fitted:
    """Load ``weights`` into ``model`` (to try: on the meta device), but those of another shape.

    Raises:
        CheckpointError: not a single key fits, or none of a ConvNeXt's; or its network is another.
    """
    fitted = fit_to_model(weights, model, source)
    expected = model.state_dict()
    fitted.keys = _put(weights, model, expected)
    name = type(model).__name__
    if not fitted.keys.matched:
        fitted.keys.check(source, name)
    loaded = set(fitted.keys.matched)
    for path, _ in convnexts(model):
        own = [key for key in expected if key.startswith(path)]
        if loaded.isdisjoint(own):
            raise CheckpointError(
                f"{source}: expected weights of {name}'s ConvNeXt under {path!r}, such as "
                f"{shown(own)}, found none"
            )
    fitted.parameters = sum(expected[key].numel() for key in fitted.keys.matched)
    return fitted


def check_keys(keys: KeyReport, model: nn.Module, source: str) -> None:
    """Check that nothing of ``model`` is missing from the file ``source``.

    A whole part that the model does not have (an auxiliary head, say) is nothing to stop for.

    Raises:
        CheckpointError: which keys are missing, left over or of another shape.
    """
    parts = {key.partition(".")[0] for key in model.state_dict()}
    unknown = tuple(key for key in keys.unknown if key.partition(".")[0] in parts)
    replace(keys, unknown=unknown).check(source, type(model).__name__)


def _put(weights: dict[str, Tensor], model: nn.Module, expected: Mapping[str, Tensor]) -> KeyReport:
    """Load what fits. The model's own hooks may rename, so that only the outcome tells."""
    told = compare_keys(expected, weights).reshaped
    reshaped = {k for k, v in weights.items() if k in expected and v.shape != expected[k].shape}
    for key in reshaped:
        del weights[key]
    missing, unknown = model.load_state_dict(weights, strict=False)
    # torch counts a BatchNorm's steps as found where an older file has none.
    absent = {k for k in expected if k.endswith(BATCH_COUNT) and k not in weights}
    lacking = absent.union(missing)
    return KeyReport(
        total=len(expected),
        matched=tuple(key for key in expected if key not in lacking),
        missing=tuple(key for key in missing if key not in absent | reshaped),
        unknown=tuple(unknown),
        reshaped=told,
    )


def fit_to_model(weights: dict[str, Tensor], model: nn.Module, source: str) -> Fitted:
    """Bring the weights of the model's ConvNeXts, in place, under our names and into its shapes.

    Where the file has a network, but nowhere the model has one, it is the model's.

    Raises:
        CheckpointError: a network is another, or there are several of which any could be meant.
    """
    fitted = Fitted()
    networks = list(convnexts(model))
    lacking = [(p, net) for p, net in networks if not _translate(weights, p, net, fitted)]
    if lacking:
        found_at = {path for path, _ in networks} - {path for path, _ in lacking}
        _move_network(weights, lacking, found_at, source, fitted)
    for path, module in networks:
        found = {k.removeprefix(path): v for k, v in weights.items() if k.startswith(path)}
        expected = module.state_dict()
        if not found.keys().isdisjoint(expected):
            found = fit_stem(found, expected, None, source)
            check_network(found, expected, source, f"{type(model).__name__}'s {path.rstrip('.')}")
    return fitted


def is_convnext(module: nn.Module) -> bool:
    """Whether ``module`` is this package's, which says so: others', mmpretrain's for one, have the
    same parts under names of their own."""
    return getattr(module, "takes_any_layout", False) is True


def convnexts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The model's ConvNeXts, and what stands before their weights' names."""
    for path, module in model.named_modules():
        if is_convnext(module):
            yield f"{path}." if path else "", module


def _translate(weights: dict[str, Tensor], path: str, module: nn.Module, fitted: Fitted) -> bool:
    converted = translate(weights, path, module.state_dict())
    if converted is None:
        return False
    fitted.formats.append(converted.format.name)
    for reason, keys in converted.dropped.items():
        left_out = [key for key in keys if key not in weights]
        if left_out:
            fitted.dropped.setdefault(reason, []).extend(left_out)
    return True


def _move_network(
    weights: dict[str, Tensor],
    lacking: list[tuple[str, nn.Module]],
    found_at: set[str],
    source: str,
    fitted: Fitted,
) -> None:
    """Move the file's network, with the model around it if that is there as well, to where the
    model has its own."""
    try:
        known = recognise(weights)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    if known is None or known[1] in found_at:
        return
    start = known[1]
    for path, module in lacking:
        if path and start.endswith(f".{path}"):  # a student's `student.backbone.`, say
            _enter(weights, start.removesuffix(path), fitted)
            _translate(weights, path, module, fitted)
            return
    if start and any(path.endswith(f".{start}") for path, _ in lacking):
        return  # mmdet's students take a teacher's file by themselves
    converted = to_native(weights, *known)
    weights.clear()
    fitted.formats.append(converted.format.name)
    fitted.dropped |= converted.dropped
    for path, _ in lacking:
        weights |= {path + name: value for name, value in converted.weights.items()}


def _enter(weights: dict[str, Tensor], outer: str, fitted: Fitted) -> None:
    """Keep the weights under ``outer``, without it."""
    others = [key for key in weights if not key.startswith(outer)]
    if others:
        fitted.dropped.setdefault(OTHER_NETWORK, []).extend(others)
    kept = {k.removeprefix(outer): v for k, v in weights.items() if k.startswith(outer)}
    weights.clear()
    weights.update(kept)
