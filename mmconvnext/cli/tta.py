"""``--tta``: a config turned into one that tests several views of every picture."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.walking import innermost
from mmconvnext.cli.errors import UsageError

Step = dict[str, Any]

_MODELS = {"mmdet": "mmconvnext.InstanceTTAModel", "mmseg": "mmconvnext.SemanticTTAModel"}
# The hosts' own models, and ours, which take the same arguments and can do more.
_STAND_INS = {"DetTTAModel": _MODELS["mmdet"], "SegTTAModel": _MODELS["mmseg"]}
# Sizes relative to the test pipeline's; segmentation's are those that its papers test with.
_RATIOS = {"mmdet": (0.75, 1.0, 1.25), "mmseg": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)}
_RESIZES = ("Resize", "FixScaleResize", "ResizeShortestEdge")
_SIZES = ("scale", "scale_factor", "max_size")
_FLIP_KEYS = ("flip", "flip_direction")
# Parts of the names of metrics whose predictions neither of our models merges.
_UNMERGEABLE = ("Panoptic", "SemSeg", "Depth", "MOT", "ReID", "VIS")


def use_tta(cfg: Config) -> str:
    """Make ``cfg`` test several views of every picture and merge what is found in them, in place.

    The config's ``tta_pipeline`` and ``tta_model`` say how. Where it has none, the views are made
    of each data set's own test pipeline: smaller and larger, each flipped and not.

    Returns:
        The line that says what was done.

    Raises:
        UsageError: the views cannot be made, or what the model predicts cannot be merged.
    """
    place, scope = f"config {cfg.filename}", cfg.get("default_scope")
    model = _tta_model(cfg.get("tta_model") or {}, scope, place)
    if model["type"] in _MODELS.values():
        _check_metrics(cfg.test_evaluator)
    counts = set()
    for dataset in innermost(cfg.test_dataloader["dataset"]):
        given = copy.deepcopy(cfg.get("tta_pipeline"))
        dataset["pipeline"] = given or _derived(dataset.get("pipeline") or (), scope, place)
        counts.add(_count_views(dataset["pipeline"], place))
    # mmengine hands the config's own data_preprocessor to the outermost model, which would put it
    # in the place of the inner one's.
    if cfg.model.get("data_preprocessor") is not None:
        model["data_preprocessor"] = cfg.model["data_preprocessor"]
    cfg.model = {**model, "module": cfg.model}
    views = " or ".join(map(str, sorted(counts)))
    return f"--tta: {views} views of every picture, merged by {_kind(model)}"


def _tta_model(given: Mapping[str, Any], scope: str | None, place: str) -> Step:
    model = dict(given)
    if "type" not in model:
        if scope not in _MODELS:
            raise UsageError(
                f"--tta: {place} has no tta_model, and none is known for default_scope={scope!r}; "
                "add tta_model=dict(type=…), which merges the predictions"
            )
        model["type"] = _MODELS[scope]
    model["type"] = _STAND_INS.get(_kind(model), model["type"])
    return model


def _check_metrics(evaluator: Any) -> None:
    for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
        if any(part in _kind(metric) for part in _UNMERGEABLE):
            raise UsageError(
                "--tta merges boxes and masks of instances (mmdet) and averages classes of pixels "
                f"(mmseg), not what {_kind(metric)} measures; that needs a tta_model of its own"
            )


def _derived(pipeline: Sequence[Mapping[str, Any]], scope: str | None, place: str) -> list[Step]:
    """A test pipeline with several views from its resizing step on.

    Annotations are read behind resizing and flipping, so that they stay as the original picture is.
    Padding stays behind the flip, which could not be undone otherwise.
    """
    lacking = f"--tta: {place} has no tta_pipeline, and none can be made"
    if scope not in _RATIOS:
        raise UsageError(f"{lacking} for default_scope={scope!r}; add one")
    steps = [dict(copy.deepcopy(step)) for step in pipeline if _kind(step) != "RandomFlip"]
    if not steps or not _kind(steps[-1]).startswith("Pack"):
        last = _kind(steps[-1]) if steps else "nothing"
        raise UsageError(f"{lacking} of a test pipeline that ends in {last}, not Pack…; add one")
    start = _resizing(steps)
    if start is None:
        raise UsageError(
            f"{lacking} of a test pipeline with neither Resize nor LoadImage… in it; add one"
        )
    *rest, pack = steps[start + 1 :]
    if "meta_keys" in pack:
        pack["meta_keys"] = tuple(dict.fromkeys((*pack["meta_keys"], *_FLIP_KEYS)))
    annotations = [step for step in steps[:start] if _kind(step) == "LoadAnnotations"]
    before = [step for step in steps[:start] if _kind(step) != "LoadAnnotations"]
    resize = steps[start]
    home = {"_scope_": resize["_scope_"]} if "_scope_" in resize else {}
    views = [
        [_scaled(resize, ratio) for ratio in _RATIOS[scope]],
        [{"type": "RandomFlip", "prob": probability, **home} for probability in (0.0, 1.0)],
        *([step] for step in (*rest, *annotations, pack)),
    ]
    return [*before, {"type": "TestTimeAug", "transforms": views}]


def _resizing(steps: list[Step]) -> int | None:
    """Index of the step that resizes; one is put in behind the loading if there is none."""
    kinds = [_kind(step) for step in steps]
    for number, kind in enumerate(kinds):
        if kind in _RESIZES:
            return number
    loading = [number for number, kind in enumerate(kinds) if kind.startswith("LoadImage")]
    if not loading:
        return None
    start = loading[-1] + 1
    steps.insert(start, {"type": "Resize", "scale_factor": 1.0, "keep_ratio": True})
    return start


def _scaled(resize: Step, ratio: float) -> Step:
    """A resizing step for a picture ``ratio`` times as large."""

    def scaled(size: Any) -> Any:
        if isinstance(size, (list, tuple)):
            return tuple(map(scaled, size))
        return round(size * ratio) if isinstance(size, int) else size * ratio

    sizes = {key: scaled(resize[key]) for key in _SIZES if resize.get(key) is not None}
    return {**copy.deepcopy(resize), **sizes}


def _count_views(pipeline: Sequence[Mapping[str, Any]], place: str) -> int:
    """How many views a pipeline makes of a picture; checks that their flips can be undone."""
    for step in pipeline:
        if _kind(step) != "TestTimeAug":
            continue
        inners = [inner for group in step["transforms"] for inner in group]
        flips = any("Flip" in _kind(inner) for inner in inners)
        for inner in inners:
            lost = set(_FLIP_KEYS) - set(inner.get("meta_keys", _FLIP_KEYS))
            if flips and lost and _kind(inner).startswith("Pack"):
                raise UsageError(
                    f"--tta: {place}: meta_keys of {_kind(inner)} in tta_pipeline lacks "
                    f"{', '.join(sorted(lost))}, without which flips are not undone"
                )
        return prod(len(group) for group in step["transforms"])
    raise UsageError(f"--tta: {place}: tta_pipeline has no TestTimeAug step, which makes the views")


def _kind(node: Mapping[str, Any]) -> str:
    """The bare name of a config dict's type, which may be a class or have a scope in front."""
    kind = node.get("type", "")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]
