"""ConvNeXt for every OpenMMLab detector and segmentor.

Importing makes the environment fit (each part does nothing where nothing is missing) and fills the
registries. ``Predictor`` comes when it is asked for: it needs parts of mmengine that take long.
"""

from typing import TYPE_CHECKING

from mmconvnext.checkpoints.for_mmengine import load_state_dict, read_for_mmengine
from mmconvnext.checkpoints.trust import read_by_others
from mmconvnext.checkpoints.whole_model import load_checkpoint
from mmconvnext.compat import any_layout, mm_packages, mmcv_ops, safe_loading, torch_load

mmcv_ops.install()
torch_load.install()
safe_loading.install(read_for_mmengine, read_by_others)
any_layout.install(load_state_dict)
mm_packages.install()

from mmconvnext.backbones import ConvNeXt  # noqa: E402  (the environment has to fit first)
from mmconvnext.inference.optimizing import optimize_for_inference  # noqa: E402
from mmconvnext.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from mmconvnext.version import __version__  # noqa: E402

__all__ = [
    "ConvNeXt",
    "LayerDecayOptimWrapperConstructor",
    "Predictor",
    "__version__",
    "load_checkpoint",
    "optimize_for_inference",
]

if TYPE_CHECKING:
    from mmconvnext.inference.predictor import Predictor
else:

    def __getattr__(name: str) -> object:
        if name != "Predictor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mmconvnext.inference.predictor import Predictor

        return Predictor
