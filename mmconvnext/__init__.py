"""ConvNeXt for every OpenMMLab detector and segmentor.

Importing makes the environment fit (each part does nothing where nothing is missing) and fills the
registries.
"""

from mmconvnext.compat import mm_packages, mmcv_ops, torch_load

mmcv_ops.install()
torch_load.install()
mm_packages.install()

from mmconvnext.backbones import ConvNeXt  # noqa: E402  (the environment has to fit first)
from mmconvnext.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from mmconvnext.version import __version__  # noqa: E402

__all__ = ["ConvNeXt", "LayerDecayOptimWrapperConstructor", "__version__"]
