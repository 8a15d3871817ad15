"""Layer-wise and stage-wise learning-rate decay: the authors' fine-tuning rule (paper, appendix A).

The nearer to the input a layer of the backbone lies, the lower its rate: ``lr * decay_rate **
(layers above it)``. Everything outside the backbone, and the norms of its outputs, get the full
rate. Vectors (biases, norms, layer scale) and GRN get no weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmconvnext.registry import OPTIM_WRAPPER_CONSTRUCTORS, register_everywhere

DECAY_TYPES = ("layer_wise", "stage_wise")
PARAMWISE_KEYS = (
    "decay_rate",
    "decay_type",
    "num_layers",
    "custom_keys",
    "norm_decay_mult",
    "bias_decay_mult",
    "bias_lr_mult",
    "bypass_duplicate",
)
CUSTOM_KEYS = ("lr_mult", "decay_mult")
MMENGINE_KEY = "_scope_"  # mmengine's own mark on dicts that a config takes from another package's


@dataclass(frozen=True)
class _Backbone:
    """A ConvNeXt in the model: its path (``'student.backbone.'``, ``''`` at the top) and layers."""

    prefix: str
    num_layers: int

    def layer(self, name: str, stage_wise: bool) -> int:
        """Layer of a parameter, 0 (stem) to ``num_layers + 1`` (output norms)."""
        part, _, rest = name.removeprefix(self.prefix).partition(".")
        if part not in ("downsample_layers", "stages"):
            return self.num_layers + 1
        stage, index = (int(number) for number in rest.split(".")[:2])
        if stage_wise:
            return stage + 1 if part == "stages" else 0
        if stage > 2:
            return self.num_layers
        if part == "downsample_layers":
            return (0, 2, 3)[stage]
        return 3 + index // 3 if stage == 2 else stage + 1


@register_everywhere(OPTIM_WRAPPER_CONSTRUCTORS)
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer wrapper in which each layer of a ConvNeXt has a rate of its own.

    The groups are those of mmdet's ``LearningRateDecayOptimizerConstructor``, but the backbone may
    sit anywhere in the model, wrapped or compiled, and there may be several. Frozen parameters are
    left out, and shared ones are taken once, whatever ``bypass_duplicate`` says. The keys of
    ``paramwise_cfg``:

    - ``decay_rate`` (required): in (0, 1].
    - ``decay_type``: ``'layer_wise'`` (default; the third stage's blocks in threes, stem to fourth
      stage) or ``'stage_wise'`` (one layer a stage, every ``downsample_layers`` with the stem).
    - ``num_layers``: layers in the backbone; ``'auto'`` (default) is 3 and one for every three
      blocks of the third stage: the authors' 6 for 9 blocks, 12 for 27.
    - ``custom_keys``: as mmengine's, the longest that is part of a parameter's name counts:
      ``lr_mult`` on top of the layer's rate, and ``decay_mult`` times the optimizer's weight decay
      in place of the rule's. The three below do not apply to such a parameter.
    - ``norm_decay_mult``, ``bias_decay_mult``: weight decay of norms and of other biases, as a
      multiple of the optimizer's, in place of none. ``bias_lr_mult``: on top of the layer's rate
      for biases that are no norm's.

    GRN's ``gamma`` and ``beta`` are (1, 1, 1, C) in the authors' V2, and yet have no weight decay
    there.

    Raises:
        ValueError: an unknown key, a value out of range, no rate in the optimizer, no ConvNeXt in
            the model, or parameters that have lost their shapes.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        cfg = self.paramwise_cfg
        _check_keys("paramwise_cfg", cfg, PARAMWISE_KEYS)
        for key, custom in cfg.get("custom_keys", {}).items():
            if key != MMENGINE_KEY:
                _check_keys(f"paramwise_cfg.custom_keys[{key!r}]", custom, CUSTOM_KEYS)
        rate, layers = cfg.get("decay_rate"), cfg.get("num_layers", "auto")
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f"paramwise_cfg.decay_rate: expected a number in (0, 1], found {rate!r}"
            )
        if cfg.get("decay_type", DECAY_TYPES[0]) not in DECAY_TYPES:
            raise ValueError(
                f"paramwise_cfg.decay_type: expected one of {', '.join(DECAY_TYPES)}, "
                f"found {cfg['decay_type']!r}"
            )
        if layers != "auto" and not (type(layers) is int and layers > 0):
            raise ValueError(
                f"paramwise_cfg.num_layers: expected a positive integer or 'auto', found {layers!r}"
            )
        if self.base_lr is None:
            raise ValueError(
                "optimizer.lr: expected a number (the rate of the last layer), found none"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of ``model``.

        Raises:
            ValueError: PyTorch's first FSDP has flattened the parameters: all would be vectors.
        """
        if any(base.__name__ == "FullyShardedDataParallel" for base in type(model).__mro__):
            raise ValueError(
                f"{type(model).__name__}: expected parameters in their own shapes, found them "
                "flattened, as mmengine's FSDPStrategy does; none would get weight decay; use "
                "`mmconvnext train --fsdp`, or strategy.type='mmconvnext.FullyShardStrategy'"
            )
        wrapper: OptimWrapper = super().__call__(model)
        return wrapper

    def add_params(self, params: list[dict], module: nn.Module, **kwargs: Any) -> None:
        """Append the groups of ``module``, the whole model, to ``params``, and log their table."""
        backbones = self._backbones(module)
        groups: dict[str, dict] = {}
        for owner, name, param in _parameters(module):
            if param.requires_grad:
                group = self._settings(backbones, owner, name, param)
                group = groups.setdefault(group["group_name"], group)
                group["params"].append(param)
                group["param_names"].append(name)
        params.extend(groups.values())
        logger = MMLogger.get_current_instance()
        logger.info(_table(groups))
        names = [name for group in groups.values() for name in group["param_names"]]
        for key in self._custom_keys():
            if not any(key in name for name in names):
                logger.warning(
                    f"paramwise_cfg.custom_keys: {key!r} is in the name of no trained parameter"
                )

    def _backbones(self, model: nn.Module) -> list[_Backbone]:
        """The model's ConvNeXts, the longest path first."""
        given = self.paramwise_cfg.get("num_layers", "auto")
        found = []
        for path, module in model.named_modules():
            if not _is_convnext(module):
                continue
            stages = len(module.stages)
            blocks = len(module.stages[2]) if stages > 2 else 0
            fitting = 3 + math.ceil(blocks / 3)
            num_layers = fitting if given == "auto" else given
            needed, what = fitting, f"{blocks} blocks in the third stage"
            if self._stage_wise:
                needed, what = stages, f"{stages} stages"
            if num_layers < needed:
                MMLogger.get_current_instance().warning(
                    f"paramwise_cfg.num_layers: {num_layers} is too few for {what}, the last ones "
                    f"of which do not get lower rates than the head; use {fitting} or 'auto'"
                )
            found.append(_Backbone(f"{path}." if path else "", num_layers))
        if not found:
            raise ValueError(
                f"{type(model).__name__}: expected a ConvNeXt somewhere in the model, found none; "
                "use mmengine's DefaultOptimWrapperConstructor for other backbones"
            )
        return sorted(found, key=lambda backbone: len(backbone.prefix), reverse=True)

    def _settings(
        self, backbones: list[_Backbone], owner: nn.Module, name: str, param: nn.Parameter
    ) -> dict:
        """Name and settings of a parameter's group, still without parameters."""
        home = next((b for b in backbones if name.startswith(b.prefix)), None)
        num_layers = home.num_layers if home else max(b.num_layers for b in backbones)
        layer = home.layer(name, self._stage_wise) if home else num_layers + 1
        scale = self.paramwise_cfg["decay_rate"] ** (num_layers + 1 - layer)
        group_name = f"layer_{layer}"
        if len({b.num_layers for b in backbones}) > 1:
            group_name += f"_of_{num_layers}"

        vector = param.ndim == 1 or name.endswith(".bias")
        grn = home is not None and name.endswith((".gamma", ".beta"))
        weight_decay = 0.0 if vector or grn else self.base_wd
        lr_mult, decay_mult = self._multipliers(owner, name)
        if decay_mult is None:
            group_name += "_no_decay" if vector or grn else "_decay"
        else:
            weight_decay = decay_mult * self.base_wd
            group_name += f"_decay_x{decay_mult:g}"
        if lr_mult != 1:
            group_name += f"_lr_x{lr_mult:g}"
            scale *= lr_mult
        group = {"lr": scale * self.base_lr, "lr_scale": scale, "group_name": group_name}
        if weight_decay is not None:  # else the optimizer's default
            group["weight_decay"] = weight_decay
        return group | {"params": [], "param_names": []}

    def _multipliers(self, owner: nn.Module, name: str) -> tuple[float, float | None]:
        """The user's factors for rate and weight decay; None: weight decay by the rule."""
        cfg = self.paramwise_cfg
        custom = self._custom_keys()
        for key in sorted(sorted(custom), key=len, reverse=True):
            if key in name:
                return custom[key].get("lr_mult", 1.0), custom[key].get("decay_mult")
        if any("Norm" in base.__name__ for base in type(owner).__mro__):
            return 1.0, cfg.get("norm_decay_mult")
        if name.rpartition(".")[2] == "bias":
            return cfg.get("bias_lr_mult", 1.0), cfg.get("bias_decay_mult")
        return 1.0, None

    @property
    def _stage_wise(self) -> bool:
        return self.paramwise_cfg.get("decay_type") == "stage_wise"

    def _custom_keys(self) -> dict[str, dict]:
        custom = self.paramwise_cfg.get("custom_keys", {})
        return {key: value for key, value in custom.items() if key != MMENGINE_KEY}


def _is_convnext(module: nn.Module) -> bool:
    """By class name, subclasses included, and layout: any package's that is laid out as ours, and
    the networks on the road there."""
    names = [base.__name__.lower() for base in type(module).__mro__]
    named = any("convnext" in name or name == "roadnet" for name in names)
    return named and {"downsample_layers", "stages"} <= module._modules.keys()


def _parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Owner, name and value of each parameter, shared ones once, in their usual order."""
    seen = set()
    for path, module in model.named_modules():
        for name, param in module.named_parameters(recurse=False):
            if param not in seen:
                seen.add(param)
                yield module, f"{path}.{name}" if path else name, param


def _check_keys(where: str, given: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise TypeError(f"{where}: expected a dict, found {given!r}")
    for key in given:
        if key not in (*allowed, MMENGINE_KEY):
            near = get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{where}: unknown key {key!r}; {hint}Allowed: {', '.join(allowed)}")


def _table(groups: dict[str, dict]) -> str:
    """The groups as text, a row each: layer, parameters, rate, decay."""
    rows = [("layer", "tensors", "parameters", "rate", "decay")]
    for name, group in sorted(groups.items(), key=lambda item: int(item[0].split("_")[1])):
        count = sum(param.numel() for param in group["params"])
        decay = group.get("weight_decay", "default")
        rows.append(
            (
                name,
                f"{len(group['params'])}",
                f"{count:,}",
                f"{group['lr']:.4g}",
                decay if isinstance(decay, str) else f"{decay:g}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join(["Layer-wise decay: the parameter groups", *lines])
