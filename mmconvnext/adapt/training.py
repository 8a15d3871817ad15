"""How an adapted config is trained: normalisation of pictures, optimizer, schedules."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.walking import dicts, plain

# What ConvNeXt's published weights expect, of RGB in 0…255 (torchvision's and the authors').
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# Models beside the one that is trained: they have weights of their own, for their own backbone.
BESIDE = ("reid", "teacher_config", "language_model")
BATCH = 16  # pictures, for which the published rates are
# Of the old backbone alone: its own parameters' names.
_OLD_KEYS = (
    "backbone",
    "absolute_pos_embed",
    "relative_position_bias_table",
    "norm",
    "pos_block",
    "rel_pos_bias",
)


def normalise_pictures(cfg: Config) -> list[str]:
    """Make every preprocessor give what ConvNeXt's weights expect, and augmentations that fill with
    the mean agree; in place. Returns the changes."""
    changes = []
    for node, path in dicts(cfg._cfg_dict):
        if _is_preprocessor(node, path):
            told = _normalise(node, path)
            # A second one beside the model is what configs made the model's from.
            if path.startswith("model.") or "data_preprocessor" not in cfg.model:
                changes += told
    if not changes:
        return []
    for node, path in dicts(cfg._cfg_dict):
        if node.get("type") != "Expand" or "mean" not in node:
            continue
        if (plain(node["mean"]), node.get("to_rgb", True)) != (MEAN, True):
            changes.append(f"{path}.mean: {plain(node['mean'])} -> {MEAN}, to_rgb=True")
            node.update(mean=MEAN, to_rgb=True)
    return changes


def _is_preprocessor(node: dict[str, Any], path: str) -> bool:
    kind = str(node.get("type")).rpartition(".")[2].lower()
    beside = set(BESIDE).intersection(path.split(".")) or kind.startswith("reid")
    return kind.endswith("datapreprocessor") and "data_preprocessor" not in node and not beside


def _normalise(node: dict[str, Any], path: str) -> list[str]:
    changes = []
    if node.pop("rgb_to_bgr", False):
        changes.append(f"{path}.rgb_to_bgr: True -> False")
    pictures = max(len(node.get("mean") or MEAN) // len(MEAN), 1)  # side by side in the channels
    wanted: dict[str, Any] = {"mean": MEAN * pictures, "std": STD * pictures}
    if pictures == 1:  # of several, preprocessors turn no channels round
        wanted["bgr_to_rgb"] = True
    for key, value in wanted.items():
        if plain(node.get(key)) != value:
            changes.append(f"{path}.{key}: {plain(node.get(key))} -> {value}")
            node[key] = value
    return changes


def train_as_published(cfg: Config, published: dict[str, Any]) -> list[str]:
    """Give ``cfg`` the optimizer and layer-wise decay of ``published``, an optimizer wrapper, and
    scale what depends on the rate; in place. Returns the changes."""
    wrapper = cfg.get("optim_wrapper")
    if not wrapper:
        return []
    old, new = wrapper.get("optimizer") or {}, published["optimizer"]
    paramwise = dict(published["paramwise_cfg"])
    kept = {
        key: value
        for key, value in ((wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}).items()
        if not any(part in str(key).split(".") for part in _OLD_KEYS)
    }
    if kept:
        paramwise["custom_keys"] = {**kept, **paramwise.get("custom_keys", {})}
    wrapper["optimizer"] = dict(new)
    wrapper["constructor"] = published["constructor"]
    wrapper["paramwise_cfg"] = paramwise
    changes = [
        f"optim_wrapper.optimizer: {_told(old)} -> {_told(new)}",
        f"optim_wrapper.paramwise_cfg: {paramwise['decay_type']} decay {paramwise['decay_rate']}",
    ]
    changes += _scale_schedules(cfg, old.get("lr"), new["lr"])
    if (cfg.get("auto_scale_lr") or {}).get("base_batch_size") not in (None, BATCH):
        changes.append(
            f"auto_scale_lr.base_batch_size: {cfg.auto_scale_lr.base_batch_size} -> {BATCH}"
        )
        cfg.auto_scale_lr.base_batch_size = BATCH
    return changes


def _scale_schedules(cfg: Config, old: Any, new: float) -> list[str]:
    """Schedules end at a rate of their own, not at a part of the optimizer's."""
    changes = []
    for node, path in dicts(cfg.get("param_scheduler"), "param_scheduler"):
        low = node.get("eta_min")
        if isinstance(low, (int, float)) and low > 0:
            scaled = low * new / old if isinstance(old, (int, float)) and old > 0 else 0.0
            if scaled != low:
                changes.append(f"{path}.eta_min: {low:g} -> {scaled:g}")
                node["eta_min"] = scaled
    return changes


def _told(optimizer: Any) -> str:
    parts = [str(optimizer.get("type"))]
    parts += [f"{key} {optimizer[key]:g}" for key in ("lr", "weight_decay") if optimizer.get(key)]
    return " ".join(parts)
