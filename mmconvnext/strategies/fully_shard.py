"""FSDP: weights, gradients and optimizer state divided among the processes.

PyTorch's ``fully_shard`` leaves every parameter its name and its shape, of which each process keeps
some rows. mmengine's FSDPStrategy flattens them before the optimizer is built: a rule that asks for
a parameter's dimensions, as layer-wise decay does for its weight decay, then takes all for vectors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from mmconvnext.checkpoints.whole_model import convnexts
from mmconvnext.registry import STRATEGIES

try:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor
except ImportError as error:
    raise ImportError(
        f"FullyShardStrategy needs PyTorch 2.6 or newer, found {torch.__version__}: {error}"
    ) from error


@STRATEGIES.register_module()
class FullyShardStrategy(DDPStrategy):
    """Train with PyTorch's ``fully_shard`` (FSDP2) by mmengine's ``FlexibleRunner``.

    A ConvNeXt's blocks are put together one by one, when they compute; the rest of the model is
    whole from its forward to its backward pass. Checkpoints are those of one process: whole
    tensors, optimizer included, written by the first process.

    Args:
        kwargs: :class:`mmengine._strategy.DDPStrategy`'s; ``model_wrapper`` must not be among them.

    Raises:
        ImportError: PyTorch is older than 2.6.
        ValueError: a ``model_wrapper`` is given.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("model_wrapper") is not None:
            raise ValueError(
                "strategy.model_wrapper: FullyShardStrategy wraps nothing, expected none, found "
                f"{kwargs['model_wrapper']!r}; remove it, or use type='DDPStrategy'"
            )
        super().__init__(**kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        device = get_device()
        model = self.convert_model(model.to(device))
        settings: dict[str, Any] = {"mesh": init_device_mesh(device, (get_world_size(),))}
        scalars = {param for param in model.parameters() if param.ndim == 0}
        if scalars:  # FCOS's scales: fully_shard has nothing to divide there
            settings["ignored_params"] = scalars
        for block in _blocks(model):
            fully_shard(block, **settings)
        fully_shard(model, **settings)
        for param in scalars:
            if param.requires_grad:
                param.register_post_accumulate_grad_hook(_share_gradient)
        for module in model.modules():
            module.register_load_state_dict_pre_hook(_divide_weights)
        return model

    def model_state_dict(self) -> dict:
        """The whole weights, on the CPU; to be called by all processes, empty but in the first."""
        shards = self.model.state_dict()
        whole = OrderedDict((name, _whole(value)) for name, value in shards.items())
        whole._metadata = shards._metadata  # type: ignore[attr-defined]
        return whole

    def optim_state_dict(self) -> dict:
        """The optimizer's whole state, as one process has it; otherwise as model_state_dict."""
        state: dict = apply_to(
            super().optim_state_dict(), lambda value: isinstance(value, Tensor), _whole
        )
        return state

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write ``filename`` in the first process; all have to call this."""
        if not is_main_process():  # give what the first asks for, in its order
            self.model_state_dict()
            if save_optimizer and hasattr(self, "optim_wrapper"):
                self.optim_state_dict()
            return
        super().save_checkpoint(
            filename,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt=extra_ckpt,
            callback=callback,
        )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load an optimizer's whole state; to be called by all processes, each with all of it."""
        params = [p for group in self.optim_wrapper.param_groups for p in group["params"]]
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        of = dict(zip(numbers, params, strict=False))  # PyTorch tells of another number
        state = {
            number: {name: _divided(value, of.get(number)) for name, value in values.items()}
            for number, values in state_dict["state"].items()
        }
        super().load_optim_state_dict({**state_dict, "state": state})


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    for _, network in convnexts(model):
        for stage in network.stages:  # type: ignore[union-attr]
            yield from stage.children()


def _share_gradient(param: Tensor) -> None:
    # Of gradients that add up, all but the last are the mean already, and stay so.
    all_reduce(param.grad, "mean")


def _divide_weights(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Before ``module`` takes its own parameters from ``state_dict``, make them shards."""
    for name, param in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = _divided(state_dict[prefix + name], param)


def _divided(value: Any, param: Tensor | None) -> Any:
    """``value``, divided as ``param`` is if it is a tensor of that shape."""
    if (
        isinstance(param, DTensor)
        and isinstance(value, Tensor)
        and not isinstance(value, DTensor)
        and value.shape == param.shape
    ):
        value = value.to(param.device)
        return distribute_tensor(value, param.device_mesh, param.placements)
    return value


def _whole(value: Tensor) -> Tensor | None:
    """The tensor that ``value`` is or has a part of, on the CPU of the first process."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if is_main_process() else None
