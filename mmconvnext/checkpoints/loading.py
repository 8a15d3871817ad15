"""Reading checkpoints safely, and loading a backbone from one, with a report."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmconvnext.checkpoints.zoo import DINOV3_REQUEST, WEIGHTS

SHOWN = 3  # names in a message; the rest is counted


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit; the message is one line."""


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds; nothing in it is run.

    Args:
        path: a ``.safetensors`` file, any file of ``torch.save``, the http(s) address of one, which
            is downloaded once, into ``torch.hub``'s folder of checkpoints, or the name of
            published weights (``checkpoints/zoo.py``).
        map_location: as in ``torch.load``.

    Raises:
        CheckpointError: no such file, a damaged one, no dict in it, code in it (the message names
            it), or an address that cannot be reached (the message says where to put the file).
    """
    address = str(path)
    if address in WEIGHTS and not Path(path).exists():
        address = WEIGHTS[address].address or _sent_file(address)
    if address.startswith(("http://", "https://")):
        return _read_address(address, map_location)
    if "://" in address:
        raise CheckpointError(
            f"checkpoint {address}: expected a file or an http(s) address, "
            f"found {urlparse(address).scheme}://; download it first"
        )
    file = Path(address).expanduser()
    if not file.exists():
        close = get_close_matches(address, WEIGHTS, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise CheckpointError(f"checkpoint not found: {address}{hint}")
    return _read_file(file, address, map_location)


def load_pretrained_backbone(module: nn.Module, checkpoint: str, prefix: str | None = None) -> None:
    """Load a backbone's weights and log what was loaded, dropped and left as initialised.

    Args:
        module: a ConvNeXt whose weights are initialised already. The norms of its outputs
            (``norm0`` …) may be missing in the file, as they are in every classifier's; nothing
            else may.
        checkpoint: as :func:`read_checkpoint` takes it, with the weights under ``state_dict``
            (mmengine), ``model`` (the authors) or at the top. Of a whole detector's, those under
            ``backbone.`` are taken.
        prefix: where in the file the weights are, as in mmengine's ``Pretrained``.

    Raises:
        CheckpointError: unreadable, or of another network: which keys, how many.
    """
    weights = _part(find_weights(read_checkpoint(checkpoint)), prefix, checkpoint)
    report = compare_keys(module.state_dict(), weights)
    afresh = [key for key in report.missing if re.match(r"norm\d\.", key)]
    wrong = report
    if report.matched:  # else it is no part of the file that is wrong
        needed = tuple(key for key in report.missing if key not in afresh)
        foreign = [k for k in report.unknown if k.startswith(("stages.", "downsample_layers."))]
        wrong = replace(report, missing=needed, unknown=tuple(foreign))
    wrong.check(f"checkpoint {checkpoint}", type(module).__name__)

    module.load_state_dict({key: weights[key] for key in report.matched}, strict=False)
    MMLogger.get_current_instance().info(
        f"{type(module).__name__} from {checkpoint}: {len(report.matched)} tensors loaded; "
        f"{_listing('dropped', report.unknown)}; {_listing('initialised afresh', afresh)}"
    )


def find_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The model's tensors: under ``state_dict``, ``model`` or at the top, without ``module.``."""
    for key in ("state_dict", "model"):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    return {k.removeprefix("module."): v for k, v in checkpoint.items() if torch.is_tensor(v)}


@dataclass(frozen=True)
class KeyReport:
    """How the keys of a checkpoint compare with a model's."""

    total: int  # keys of the model
    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the model only
    unknown: tuple[str, ...]  # in the checkpoint only
    reshaped: tuple[str, ...]  # of another shape; "key (found) instead of (expected)"

    def check(self, source: str, model: str) -> None:
        """Raise :class:`CheckpointError` unless all keys match."""
        if not self.matched and not self.reshaped:
            raise CheckpointError(
                f"{source}: none of its keys is {model}'s: expected {self.total} such as "
                f"{_shown(self.missing)}, found {_shown(self.unknown) or 'no tensors'}"
            )
        wrong = [
            f"{len(keys)} {what} ({_shown(keys)})"
            for what, keys in (
                ("missing from it", self.missing),
                ("unknown to the model", self.unknown),
                ("of another shape", self.reshaped),
            )
            if keys
        ]
        if wrong:
            raise CheckpointError(
                f"{source} is of another architecture than {model}: of {self.total} keys "
                + ", ".join(wrong)
            )


def compare_keys(model: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]) -> KeyReport:
    """Compare two state dicts by key and shape; BatchNorm's step counts may be missing."""
    common = [key for key in model if key in checkpoint]
    fitting = {key for key in common if model[key].shape == checkpoint[key].shape}
    return KeyReport(
        total=len(model),
        matched=tuple(key for key in common if key in fitting),
        missing=tuple(
            k for k in model if k not in checkpoint and not k.endswith("num_batches_tracked")
        ),
        unknown=tuple(key for key in checkpoint if key not in model),
        reshaped=tuple(
            f"{key} {tuple(checkpoint[key].shape)} instead of {tuple(model[key].shape)}"
            for key in common
            if key not in fitting
        ),
    )


def check_against_model(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Check that the weights are exactly the model's, by key and shape; ``source`` names the file
    in the error.

    Raises:
        CheckpointError: they are not: which keys, how many.
    """
    compare_keys(model.state_dict(), weights).check(f"checkpoint {source}", type(model).__name__)


def _part(weights: dict[str, Tensor], prefix: str | None, source: str) -> dict[str, Tensor]:
    """The backbone's share, under its own names."""
    if prefix is None:
        prefix = "backbone." if any(key.startswith("backbone.") for key in weights) else ""
    elif prefix and not prefix.endswith("."):
        prefix += "."
    part = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    if not part and weights:
        raise CheckpointError(
            f"checkpoint {source}: expected keys that begin with {prefix!r} (init_cfg.prefix), "
            f"found {_shown(list(weights))}"
        )
    return part


def _read_file(file: Path, name: str, map_location: Any) -> dict[str, Any]:
    """Read ``file``, called ``name`` in errors."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"checkpoint {name}: {error.strerror}") from error
    try:
        if name.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(file, device=str(map_location))
        content = torch.load(file, map_location=map_location, weights_only=True)
    except ImportError as error:
        raise CheckpointError(f"checkpoint {name}: {error}; pip install safetensors") from error
    except Exception as error:  # torch raises whatever its parsers do
        raise CheckpointError(f"checkpoint {name}: {_reason(str(error))}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"checkpoint {name}: expected a dict of weights, found {type(content).__name__}"
        )
    return content


def _reason(message: str) -> str:
    """Why reading failed, from PyTorch's or safetensors' own long message."""
    code = re.search(r"GLOBAL (\S+)", message)
    if code:
        return (
            f"refused, since reading it could run code: it refers to {code[1]}; "
            "only weights and what mmengine itself writes are read"
        )
    detail = re.search(r"WeightsUnpickler error: *(.+)", message) or re.match(r"(.*)", message)
    told = detail[1].strip().partition(". ")[0].rstrip(".") if detail else ""
    return f"damaged or cut off, or no checkpoint ({told or 'it ends early'}); get it again"


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _sent_file(name: str) -> str:
    """Where the file lies that its holder sends to whoever asks."""
    file = _cache() / WEIGHTS[name].file
    if not file.exists():
        raise CheckpointError(
            f"checkpoint {name}: Meta sends the file after a request at {DINOV3_REQUEST}; put it "
            f"at {file}, or name yours as init_cfg.checkpoint of the backbone"
        )
    return str(file)


def _read_address(address: str, map_location: Any) -> dict[str, Any]:
    """Download once; a file gets its name in the cache only when it has been read whole."""
    from filelock import FileLock  # comes with torch

    cached = _cache() / Path(urlparse(address).path).name
    put = f"download it elsewhere and put it at {cached}"
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        # Several processes of one run ask at the same time: one downloads, the others find the
        # file.
        with FileLock(f"{cached}.lock"):
            if not cached.exists():
                return _download(address, cached, map_location)
    except (OSError, HTTPException, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {address}: cannot be downloaded ({error}); {put}"
        ) from error
    return _read_file(cached, str(cached), map_location)


def _download(address: str, cached: Path, map_location: Any) -> dict[str, Any]:
    fresh = cached.with_name(f"{cached.name}.{uuid.uuid4().hex}")
    try:
        MMLogger.get_current_instance().info(f"Downloading {address} to {cached}")
        torch.hub.download_url_to_file(address, str(fresh))
        content = _read_file(fresh, address, map_location)
        fresh.replace(cached)
    finally:
        fresh.unlink(missing_ok=True)
    return content


def _shown(keys: list[str] | tuple[str, ...]) -> str:
    more = ", …" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _listing(what: str, keys: list[str] | tuple[str, ...]) -> str:
    return f"{what}: {len(keys)} ({_shown(keys)})" if keys else f"{what}: none"
