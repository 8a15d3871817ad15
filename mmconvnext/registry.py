"""This package's registries: children of mmengine's, scope ``mmconvnext``.

A child alone is found only as ``mmconvnext.Name``. What has to answer to its bare name from every
package of the family (``type='ConvNeXt'`` in an mmdet or mmseg config) is registered in mmengine's
root as well, with :func:`register_everywhere`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import Registry

SCOPE = "mmconvnext"

# Classes that build on mmseg, and where they register themselves.
NEED_MMSEG = {"FastUPerHead": "mmconvnext.heads.upernet"}


class _ModelRegistry(Registry):
    """Imports what builds on a host package when it is asked for, not with the other locations: a
    user of mmdet alone has no mmseg, and pays for no import of it."""

    def get(self, key: str) -> Any:
        module = NEED_MMSEG.get(key.removeprefix(f"{SCOPE}."))
        if module is not None:
            import_module(module)
        return super().get(key)


MODELS = _ModelRegistry(
    "model",
    parent=ROOT_MODELS,
    scope=SCOPE,
    locations=["mmconvnext.backbones", "mmconvnext.evaluation.tta"],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["mmconvnext.optim"],
)
HOOKS = Registry("hook", parent=ROOT_HOOKS, scope=SCOPE, locations=["mmconvnext.hooks"])

T = TypeVar("T", bound=type)


def register_everywhere(registry: Registry) -> Callable[[T], T]:
    """Class decorator: register in ``registry`` and, where the name is free, in mmengine's root.

    A bare name is looked up in the caller's registry and then in its ancestors, never in its
    siblings, so mmdet and mmseg reach the root but not this package's child. A class that somebody
    else put there first is left in place.
    """

    def register(cls: T) -> T:
        registry.register_module(module=cls)
        root = registry.parent
        if root is not None and cls.__name__ not in root.module_dict:
            root.register_module(module=cls)
        return cls

    return register
