"""Reading checkpoint files: nothing in them is run, nothing half-downloaded is taken for whole."""

from __future__ import annotations

import re
import tarfile
import uuid
import warnings
from difflib import get_close_matches
from functools import partial
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from mmengine.logging import MMLogger
from mmengine.utils import digit_version
from torch import Tensor

from mmconvnext.checkpoints.trust import CheckpointError, read_guarded
from mmconvnext.checkpoints.zoo import DINOV3_REQUEST, WEIGHTS, find_weights_name

__all__ = ["CheckpointError", "read_checkpoint", "read_content"]


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds; nothing in it is run.

    Args:
        path: a ``.safetensors`` file, any file of ``torch.save``, the http(s) address of one, which
            is downloaded once, into ``torch.hub``'s folder of checkpoints, or the name of
            published weights (``checkpoints/zoo.py``).
        map_location: as in ``torch.load``.

    Raises:
        CheckpointError: no such file, a damaged one, no dict in it, code in it (the message names
            it; ``checkpoints/trust.py`` has the override), or an address that cannot be reached
            (the message says where to put the file).
    """
    content = read_content(path, map_location)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"checkpoint {path}: expected a dict of weights, found {type(content).__name__}"
        )
    return content


def read_content(path: str | Path, map_location: Any = "cpu") -> Any:
    """As :func:`read_checkpoint`, but a file may hold something else than a dict."""
    address = str(path)
    name = find_weights_name(address)
    if name is not None and not Path(path).exists():
        address = WEIGHTS[name].address or _sent_file(name)
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


def _read_file(file: Path, name: str, map_location: Any) -> Any:
    """Read ``file``, called ``name`` in errors."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"checkpoint {name}: {error.strerror}") from error
    try:
        if name.endswith(".safetensors"):
            return _read_safetensors(file, name, map_location)
        return read_guarded(partial(_torch_load, file, map_location), name, file)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises whatever its parsers do
        raise CheckpointError(f"checkpoint {name}: {_reason(str(error))}") from error


def _read_safetensors(file: Path, name: str, map_location: Any) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"checkpoint {name}: {error}; pip install safetensors") from error
    known = isinstance(map_location, (str, torch.device))
    return load_file(file, device=str(map_location) if known else "cpu")


def _torch_load(file: Path, map_location: Any, weights_only: bool) -> Any:
    safe = digit_version(torch.__version__) >= digit_version("2.6.0")
    if weights_only and not safe and tarfile.is_tarfile(file):
        # weights_only was not safe for these (CVE-2025-32434); later versions refuse them too.
        raise UnpicklingError("Cannot use weights_only=True with files in the legacy .tar format.")
    with warnings.catch_warnings():  # of unusual pickles: an error says it, or it does not matter
        warnings.simplefilter("ignore")
        return torch.load(file, map_location=map_location, weights_only=weights_only)


def _reason(message: str) -> str:
    """Why reading failed, from PyTorch's or safetensors' own long message."""
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


def _read_address(address: str, map_location: Any) -> Any:
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


def _download(address: str, cached: Path, map_location: Any) -> Any:
    fresh = cached.with_name(f"{cached.name}.{uuid.uuid4().hex}")
    try:
        MMLogger.get_current_instance().info(f"Downloading {address} to {cached}")
        digest = torch.hub.HASH_REGEX.search(cached.name)  # as PyTorch and OpenMMLab name theirs
        torch.hub.download_url_to_file(address, str(fresh), digest[1] if digest else None)
        _check_size(address, fresh)
        content = _read_file(fresh, address, map_location)
        fresh.replace(cached)
    finally:
        fresh.unlink(missing_ok=True)
    return content


def _check_size(address: str, file: Path) -> None:
    """Check that a download has as many bytes as its server says, if it says."""
    try:
        with urlopen(Request(address, method="HEAD"), timeout=30) as response:
            announced = response.headers.get("Content-Length")
    except (OSError, HTTPException):  # not every server answers that
        return
    found = file.stat().st_size
    if announced and announced.isdecimal() and int(announced) != found:
        raise CheckpointError(
            f"checkpoint {address}: cut off: expected {announced} bytes, got {found}; try again"
        )
