"""mmengine's reading of checkpoints, made safe: whatever it reads, code in a file does not run.

Lacking there: ``torch.load`` is called without ``weights_only``, so before PyTorch 2.6, and with
``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` after it, code in a file runs; onedl-mmengine reads a file that
is refused once more, unsafely; a refusal takes a page; ``.safetensors`` are not read by older
PyTorch; a download that was cut off is taken for whole. Everything of mmengine's, and with it
mmdet's ``init_detector`` and mmseg's ``init_model``, reads by ``CheckpointLoader``, so this is the
one place to change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import torch

from mmconvnext.compat.when_imported import change_module

MODULE = "mmengine.runner.checkpoint"
Read = Callable[[str, Any], Any]
ReadByOthers = Callable[[Callable[[], Any], str], Any]


def install(read: Read, read_by_others: ReadByOthers) -> None:
    """Make mmengine read safely: now if its module is imported, else once it is (it takes long).

    Args:
        read: reads a file or an http(s) address; takes it and a map_location.
        read_by_others: calls a function without arguments, in which every ``torch.load`` is safe;
            takes it and the address, for messages. For the schemes of mmengine's and of others
            that ``read`` does not know (``s3://`` …).
    """

    def change(module: ModuleType) -> None:
        make_safe(module, read, read_by_others)

    change_module(MODULE, change)


def make_safe(module: ModuleType, read: Read, read_by_others: ReadByOthers) -> None:
    """Change ``mmengine.runner.checkpoint``, or onedl's, in place; once."""
    if module.load_from_local.__module__ == __name__:
        return

    # mmengine's log names a loader by what its name has after load_from_.
    def load_from_local(filename: Any, map_location: Any = None) -> Any:
        return read(str(filename), map_location)

    def load_from_http(
        filename: str, map_location: Any = None, model_dir: Any = None, progress: bool = True
    ) -> Any:
        return load_from_local(filename, map_location)

    vars(module).update(load_from_local=load_from_local, load_from_http=load_from_http)
    if hasattr(module, "_safe_torch_load"):
        vars(module)["_safe_torch_load"] = _torch_load
    loaders = module.CheckpointLoader
    loaders.register_scheme("", loader=load_from_local, force=True)
    loaders.register_scheme(("http://", "https://"), loader=load_from_http, force=True)
    find = loaders._get_checkpoint_loader

    def find_safe(_: type, path: Any) -> Callable:
        loader = find(str(path))
        own = loader in (load_from_local, load_from_http)
        return loader if own else _safe(loader, read_by_others)

    loaders._get_checkpoint_loader = classmethod(find_safe)


def _safe(loader: Callable, read_by_others: ReadByOthers) -> Callable:
    """``loader``, in which every ``torch.load`` is safe."""

    @wraps(loader)
    def load(filename: Any, map_location: Any = None) -> Any:
        return read_by_others(lambda: loader(filename, map_location), str(filename))

    return load


def _torch_load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """onedl-mmengine's ``_safe_torch_load`` without what it tries after a refusal, and without the
    whole of ``getattr`` in the allow-list."""
    return torch.load(file, map_location=map_location, weights_only=weights_only)
