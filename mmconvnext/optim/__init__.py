"""Layer-wise learning-rate decay."""

from mmconvnext.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmconvnext.optim.layer_rates import LayerRate, layer_rates

__all__ = ["LayerDecayOptimWrapperConstructor", "LayerRate", "layer_rates"]
