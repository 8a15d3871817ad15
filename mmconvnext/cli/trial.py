"""One config of the coverage table: read, adapted, tried; what came of it as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

TINY = {"arch": {"depths": [1, 1, 1, 1], "channels": [32, 64, 128, 256]}}  # GN(32) divides them
_USUAL = ("ResNet", "ResNetV1c", "ResNetV1d", "ResNeXt", "Res2Net", "SwinTransformer")
_tried: dict[str, str] = {}  # mark of a model → why it fails, empty if it works
_LONGEST = 160  # characters of a reason


def try_config(name: str) -> dict[str, Any]:
    """What comes of the config ``name``: ``status`` ('works', 'fails', 'adapt': cannot be adapted,
    'unreadable', 'no model'), ``backbone`` (the original's type) and ``reason``. Of configs whose
    adapted models are equal the first is tried, in each process."""
    import torch

    from mmconvnext.adapt import AdaptError, with_convnext
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.errors import UsageError, describe
    from mmconvnext.evaluation.one_step import try_model

    torch.set_num_threads(1)
    try:
        cfg = load_config(name, {})
    except UsageError as error:
        return _answer("unreadable", reason=f"config cannot be read: {_without_place(str(error))}")
    if cfg.get("model") is None:
        return _answer("no model")
    kind = backbone_kind(cfg.model)
    try:
        adapted = with_convnext(cfg, TINY, weights=None).config
    except AdaptError as error:
        return _answer("adapt", kind, str(error))
    except Exception as error:
        return _answer("fails", kind, describe(error))
    mark = _mark(adapted)
    if mark not in _tried:
        try:
            try_model(adapted)
            _tried[mark] = ""
        except Exception as error:
            _tried[mark] = describe(error)
    return _answer("fails" if _tried[mark] else "works", kind, _tried[mark])


def _mark(cfg: Config) -> str:
    """What a trial depends on: equal for configs that differ in their old backbone's depth or
    their schedule."""
    masks = "'with_mask': True" in repr(cfg.get("train_dataloader"))
    return repr((cfg.get("default_scope"), masks, cfg.get("data_preprocessor"), cfg.model))


def outcome(name: str, answer: dict[str, Any] | Exception) -> dict[str, Any]:
    """A result to write down: ``answer`` (an error where the process that tried did not give one)
    with the config's name, package and family."""
    package, _, path = name.partition("::")
    if isinstance(answer, Exception):
        answer = _answer("fails", reason=str(answer))
    return {"config": name, "package": package, "family": path.partition("/")[0], **answer}


def backbone_kind(model: Any) -> str | None:
    """Type of the first backbone in ``model``, without its scope; None: it has none."""
    for part in (model, model.get("detector")):
        backbone = part.get("backbone") if isinstance(part, dict) else None
        if isinstance(backbone, dict) and isinstance(backbone.get("type"), str):
            return backbone["type"].rpartition(".")[2]
    return None


def is_usual(kind: str | None) -> bool:
    """Whether a backbone of that type is a ResNet, ResNeXt, Res2Net or Swin, which a ConvNeXt is
    meant to replace."""
    return kind in _USUAL


def first_of_each_kind(names: Iterable[str]) -> Iterator[str]:
    """Of the configs of one folder, the first with each usual kind of backbone."""
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.errors import UsageError

    seen: set[str | None] = set()
    for name in names:
        try:
            cfg = load_config(name, {})
        except UsageError:
            continue
        kind = backbone_kind(cfg.get("model") or {})
        if is_usual(kind) and kind not in seen:
            seen.add(kind)
            yield name


def _answer(status: str, kind: str | None = None, reason: str = "") -> dict[str, Any]:
    return {"status": status, "backbone": kind, "reason": _shortened(reason)}


def _without_place(message: str) -> str:
    """The message of a config that cannot be read, without the config's own name and line."""
    return re.sub(r"^config \S+(, line \d+)?: ", "", message)


def _shortened(reason: str) -> str:
    # Without where the packages lie: a page is read on other machines.
    line = re.sub(r"[^\s\"']*/site-packages/", "", " ".join(reason.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
