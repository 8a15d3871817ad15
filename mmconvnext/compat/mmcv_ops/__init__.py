"""mmcv's compiled operators, where mmcv came without them, on torchvision's kernels and PyTorch.

mmcv's Python wrappers (``mmcv.ops``) call functions of ``mmcv._ext``. Each module listed in
:data:`MODULES` defines some of these under mmcv's names and signatures, writing into the tensors
that the wrappers pass for output, and lists them in its ``OPERATORS``. A compiled mmcv is left
alone: see ``_mmconvnext_ops_finder``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import _mmconvnext_ops_finder

MODULES = (
    "info",
    "nms",
    "roi",
    "focal",
    "sync_bn",
    "deform",
    "attention",
    "carafe",
    "masked",
    "psa",
    "deform_roi",
    "lanes",
)


def install() -> None:
    """Let ``import mmcv._ext`` find :func:`operators` wherever no compiled one is found.

    Does nothing where it has been done, or where the environment says ``MMCONVNEXT_OPS=0``.
    """
    _mmconvnext_ops_finder.install()


def operators() -> dict[str, Callable[..., Any]]:
    """Return every operator that is provided, by its name in ``mmcv._ext``."""
    modules = [import_module(f"{__name__}.{name}") for name in MODULES]
    return {operator.__name__: operator for module in modules for operator in module.OPERATORS}


def populate(module: ModuleType) -> None:
    """Give ``module``, an empty ``mmcv._ext``, all operators and an answer for missing ones."""
    module.__doc__ = __doc__
    module.__file__ = __file__
    if module.__spec__ is not None:
        module.__spec__.origin = __file__
    vars(module).update(operators())

    def find_missing(name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        stand_in = _missing(name, module.__name__)
        setattr(module, name, stand_in)  # kept, so that it pickles by its name like any function
        return stand_in

    vars(module)["__getattr__"] = find_missing  # PEP 562


def _missing(name: str, module_name: str) -> Callable[..., Any]:
    """Return a stand-in: mmcv asserts at import that all exist, even those never called."""

    def operator(*args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            f"mmcv.ops: mmconvnext does not provide the operator {name!r}; it needs a compiled "
            f"mmcv (one built for your PyTorch and CUDA, in place of mmcv-lite)"
        )

    operator.__name__ = operator.__qualname__ = name
    operator.__module__ = module_name
    return operator
