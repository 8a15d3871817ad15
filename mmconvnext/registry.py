"""This package's registries: children of mmengine's, scope ``mmconvnext``.

A child alone is found only as ``mmconvnext.Name``. What has to answer to its bare name from every
package of the family (``type='ConvNeXt'`` in an mmdet or mmseg config) is registered in mmengine's
root as well, with :func:`register_everywhere`; what takes long to import waits there as a
:class:`LateClass`, see :func:`register_later`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import STRATEGIES as ROOT_STRATEGIES
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry

from mmconvnext.compat.when_imported import change_module

SCOPE = "mmconvnext"


class OnDemandRegistry(Registry):
    """A registry that imports what registers a name only when that name is asked for.

    mmengine's ``locations`` are all imported at the first look-up, and one that cannot be imported
    is an error. What subclasses mmdet's or mmseg's classes comes here instead: who has one of these
    packages shall get it without the other.

    Args:
        modules: of each such name, the module that registers it.
        kwargs: mmengine's.
    """

    def __init__(self, name: str, *, modules: Mapping[str, str], **kwargs: Any) -> None:
        # Without a location mmengine looks for `utils.register_all_modules`, and warns.
        super().__init__(name, **{"locations": [__name__], **kwargs})
        self.modules = modules

    def get(self, key: str) -> type | None:
        """As mmengine's.

        Raises:
            ImportError: what registers ``key`` needs a package that is not installed.
        """
        scope, name = self.split_scope_key(key)
        if scope in (None, self.scope) and name in self.modules:
            try:
                import_module(self.modules[name])
            except ImportError as error:
                raise ImportError(
                    f"{self.scope}.{name} needs a package that is not there: {error}"
                ) from error
        return super().get(key)


MODELS = OnDemandRegistry(
    "model",
    parent=ROOT_MODELS,
    scope=SCOPE,
    locations=["mmconvnext.backbones", "mmconvnext.evaluation.tta"],
    modules={
        "FastUPerHead": "mmconvnext.heads.upernet",
        "ImageClassifier": "mmconvnext.classification",
    },
)
METRICS = OnDemandRegistry(
    "metric",
    parent=ROOT_METRICS,
    scope=SCOPE,
    modules={
        "FastCocoMetric": "mmconvnext.evaluation.coco_metric",
        "FastIoUMetric": "mmconvnext.evaluation.iou_metric",
        "TopAccuracy": "mmconvnext.classification",
    },
)
DATASETS = OnDemandRegistry(
    "dataset",
    parent=ROOT_DATASETS,
    scope=SCOPE,
    modules={"ClassFolders": "mmconvnext.classification"},
)
TRANSFORMS = OnDemandRegistry(
    "transform",
    parent=ROOT_TRANSFORMS,
    scope=SCOPE,
    modules=dict.fromkeys(("LoadRGB", "PackClass", "Torchvision"), "mmconvnext.classification"),
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["mmconvnext.optim"],
)
HOOKS = Registry("hook", parent=ROOT_HOOKS, scope=SCOPE, locations=["mmconvnext.hooks"])
LOOPS = Registry("loop", parent=ROOT_LOOPS, scope=SCOPE, locations=["mmconvnext.loops"])
STRATEGIES = Registry(
    "strategy", parent=ROOT_STRATEGIES, scope=SCOPE, locations=["mmconvnext.strategies"]
)

T = TypeVar("T", bound=type)


class LateClass:
    """Keeps the place of a class in mmengine's root, and imports it when it is used.

    A look-up from another package's registry takes the root's entries as they are, so there an
    entry cannot be imported by the look-up, as it is in this package's registries. Whoever calls
    this object, subclasses it, checks against it, copies it or reads an attribute gets the class's.

    Args:
        name: of the class.
        module: that registers it with :func:`register_everywhere`.
    """

    def __init__(self, name: str, module: str) -> None:
        self.__name__, self.module = name, module

    def load(self) -> type:
        """The class."""
        return _load(self.module, self.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An instance of the class."""
        return self.load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.load(), name)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (self.load(),)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self.load())

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self.load())

    def __reduce__(self) -> tuple[Callable[[str, str], type], tuple[str, str]]:
        return _load, (self.module, self.__name__)


def _load(module: str, name: str) -> type:
    return getattr(import_module(module), name)


def register_later(registry: Registry, name: str, *, module: str, after: str) -> None:
    """Register a class everywhere, and import it only where it can be needed.

    Args:
        registry: this package's; its ``locations`` have to name ``module``.
        name: of the class.
        module: that registers it with :func:`register_everywhere`.
        after: mmengine's module that ``module`` needs and that takes long. Once it is imported, by
            mmdet or a runner for example, so is ``module``, and the class itself is in the root.
    """

    def register(_: ModuleType) -> None:
        import_module(module)

    root = registry.parent
    if root is not None and name not in root.module_dict:
        root.register_module(name=name, module=LateClass(name, module))
    change_module(after, register)


def register_everywhere(registry: Registry) -> Callable[[T], T]:
    """Class decorator: register in ``registry`` and, where the name is free, in mmengine's root.

    A bare name is looked up in the caller's registry and then in its ancestors, never in its
    siblings, so mmdet and mmseg reach the root but not this package's child. A class that somebody
    else put there first is left in place.
    """

    def register(cls: T) -> T:
        registry.register_module(module=cls)
        root = registry.parent
        if root is not None:
            kept = isinstance(root.module_dict.get(cls.__name__), LateClass)
            if kept or cls.__name__ not in root.module_dict:
                root.register_module(module=cls, force=kept)
        return cls

    return register
