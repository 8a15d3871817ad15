"""ConvNeXt for every OpenMMLab detector and segmentor.

Importing makes the environment fit (each part does nothing where nothing is missing) and fills the
registries. What needs parts of mmengine that take long comes when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mmconvnext.checkpoints.for_mmengine import load_state_dict, read_for_mmengine
from mmconvnext.checkpoints.trust import read_by_others
from mmconvnext.checkpoints.whole_model import load_checkpoint
from mmconvnext.compat import any_layout, mm_packages, mmcv_ops, safe_loading, torch_load
from mmconvnext.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, register_later
from mmconvnext.version import __version__

__all__ = [
    "ConvNeXt",
    "LayerDecayOptimWrapperConstructor",
    "Predictor",
    "RoadNet",
    "__version__",
    "load_checkpoint",
    "optimize_for_inference",
]

# Name → the module it comes from.
_LATE = {
    "ConvNeXt": "mmconvnext.backbones",
    "LayerDecayOptimWrapperConstructor": "mmconvnext.optim",
    "Predictor": "mmconvnext.inference.predictor",
    "RoadNet": "mmconvnext.backbones",
    "optimize_for_inference": "mmconvnext.inference",
}
_PACKAGES = ("backbones", "inference", "optim")

if TYPE_CHECKING:
    from mmconvnext.backbones import ConvNeXt, RoadNet
    from mmconvnext.inference import optimize_for_inference
    from mmconvnext.inference.predictor import Predictor
    from mmconvnext.optim import LayerDecayOptimWrapperConstructor
else:

    def __getattr__(name: str) -> object:
        if name in _PACKAGES:
            return import_module(f"{__name__}.{name}")
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})


mmcv_ops.install()
torch_load.install()
safe_loading.install(read_for_mmengine, read_by_others)
any_layout.install(load_state_dict)
mm_packages.install()

for _registry, _name, _after in (
    (MODELS, "ConvNeXt", "mmengine.model"),
    (MODELS, "RoadNet", "mmengine.model"),
    (OPTIM_WRAPPER_CONSTRUCTORS, "LayerDecayOptimWrapperConstructor", "mmengine.optim"),
):
    register_later(_registry, _name, module=_LATE[_name], after=_after)
