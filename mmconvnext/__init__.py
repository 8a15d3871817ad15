"""ConvNeXt for every OpenMMLab detector and segmentor.

Importing makes the environment fit (each part does nothing where nothing is missing) and fills the
registries.
"""

from mmconvnext.checkpoints.reading import read_content
from mmconvnext.checkpoints.trust import read_by_others
from mmconvnext.compat import mm_packages, mmcv_ops, safe_loading, torch_load

mmcv_ops.install()
torch_load.install()
safe_loading.install(read_content, read_by_others)
mm_packages.install()

from mmconvnext.backbones import ConvNeXt  # noqa: E402  (the environment has to fit first)
from mmconvnext.checkpoints.loading import load_checkpoint  # noqa: E402
from mmconvnext.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from mmconvnext.version import __version__  # noqa: E402

__all__ = ["ConvNeXt", "LayerDecayOptimWrapperConstructor", "__version__", "load_checkpoint"]
