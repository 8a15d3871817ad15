"""A config's model, made fit for a trial: nothing to download, small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config, ConfigDict

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.adapt.walking import dicts

_DOWNLOADS = ("pretrained", "teacher_ckpt")  # arguments that name weights
# Steps that bring a batch to a size of theirs: (type, the argument that says which).
_SIZES = {
    "SegDataPreProcessor": "size",
    "BatchFixedSizePad": "size",
    "BatchSyncRandomResize": "random_size_range",
    "BatchResize": "scale",
}
# Regions that detectors look into, at most: the second stages take most of the time.
_BEFORE_NMS, _AFTER_NMS, _SAMPLES = 100, 20, 32
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?'-"
_BERT_WIDTH = 768  # heads that mix language and pictures count on it


@contextmanager
def model_for_trial(cfg: Config, size: int) -> Iterator[ConfigDict]:
    """``cfg.model`` without weights to download and with batches ``size`` pixels wide; to be built
    inside, as a made-up language model lies in a folder that is removed on leaving."""
    model = deepcopy(cfg.model)
    if cfg.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", deepcopy(cfg.data_preprocessor))
    _find_teacher(model, cfg.get("default_scope"))
    plain_batch_norm(model)
    for node, _ in dicts(model):
        _leave_out_weights(node)
        _keep_activations(node)
        _look_at_few(node)
        _fit_size(node, size)
    with TemporaryDirectory() as folder:
        if model.get("language_model"):
            _make_bert(Path(folder))
            for node, _ in dicts(model):
                _name_bert(node, folder)
        yield model


def _leave_out_weights(node: dict[str, Any]) -> None:
    for key in _DOWNLOADS:
        node.pop(key, None)
    if node.get("type") == "AppearanceFreeLink":
        node["checkpoint"] = ""  # an argument that cannot be left out
    steps = node.get("init_cfg")
    if isinstance(steps, dict) and steps.get("type") == "Pretrained":
        del node["init_cfg"]
    elif isinstance(steps, (list, tuple)):
        node["init_cfg"] = [step for step in steps if step.get("type") != "Pretrained"]


def _keep_activations(node: dict[str, Any]) -> None:
    """Recompute nothing: that takes fairscale, to save memory that a trial does not need."""
    if node.get("num_cp"):
        node["num_cp"] = 0


def _fit_size(node: dict[str, Any], size: int) -> None:
    kind = node.get("type")
    key = _SIZES.get(kind.rpartition(".")[2]) if isinstance(kind, str) else None
    if key and node.get(key) is not None:
        node[key] = (size, size)


def _look_at_few(node: dict[str, Any]) -> None:
    if node.get("nms_pre", 0) > _BEFORE_NMS:  # without it, `max_per_img` is a number of queries
        node["nms_pre"] = _BEFORE_NMS
        node["max_per_img"] = min(node.get("max_per_img", _AFTER_NMS), _AFTER_NMS)
    if str(node.get("type")).endswith("Sampler") and isinstance(node.get("num"), int):
        node["num"] = min(node["num"], _SAMPLES)


def _find_teacher(model: dict[str, Any], scope: str | None) -> None:
    """Read a teacher's config from the package: it is named as seen from mmdet's own checkout."""
    teacher = model.get("teacher_config")
    if isinstance(teacher, str) and not Path(teacher).is_file():
        inside = teacher.removeprefix("configs/")
        model["teacher_config"] = dict(model=Config.fromfile(f"{scope}::{inside}").model)


def _name_bert(node: dict[str, Any], folder: str) -> None:
    if node.get("lang_model_name"):
        node["lang_model_name"] = folder
    if isinstance(node.get("language_model"), dict) and "name" in node["language_model"]:
        node["language_model"]["name"] = folder


def _make_bert(folder: Path) -> None:
    """Save a BERT of one layer with random weights, and a vocabulary of single characters."""
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_CHARACTERS]
    words += [f"##{character}" for character in _CHARACTERS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    settings = BertConfig(
        vocab_size=len(words),
        hidden_size=_BERT_WIDTH,
        num_hidden_layers=1,
        intermediate_size=_BERT_WIDTH,
    )
    BertModel(settings).save_pretrained(folder)
