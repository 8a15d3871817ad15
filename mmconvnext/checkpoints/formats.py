"""The layouts in which ConvNeXt's weights lie about, and how each becomes ours, the authors'.

A format is a table of names, there and here, in which ``{s}`` is a stage, ``{b}`` a block, ``{n}``
0 or 1, ``{k}`` 1 or 2, and ``{w}`` a layer's weight or bias. It is recognised by its name of the
first block's depthwise kernel. What the table does not name is left out, and told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from torch import Tensor

Table = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Format:
    """A layout: its table of names, and the name of the norm before its classifier, which ours
    has not. ``prepare`` turns a weight's name and value first into what the table knows."""

    name: str
    table: Table
    final_norm: str = ""
    prepare: Callable[[str, Tensor], tuple[str, Tensor]] | None = None
    mark: str = ""  # the first depthwise kernel's name, where the table does not tell

    @property
    def first_kernel(self) -> str:
        """The name by which the format is recognised."""
        if self.mark:
            return self.mark
        template = next(there for there, here in self.table if ".dwconv." in here)
        return template.format(s=0, b=0, w="weight")


def recognise(
    keys: Collection[str], prefix: str | None = None, formats: Iterable[Format] | None = None
) -> tuple[Format, str] | None:
    """The format of a file with ``keys``, and what stands before the network's names in it.

    Args:
        keys: of the file.
        prefix: what has to stand before them; None: whatever does. Of a student and its teacher
            the student is taken.
        formats: it may have; None: all of ConvNeXt's.

    Returns:
        None if no format's first kernel is among the keys.

    Raises:
        ValueError: several networks are among the keys.
    """
    for known in FORMATS if formats is None else formats:
        mark = known.first_kernel
        found = [k.removesuffix(mark) for k in keys if k == mark or k.endswith(f".{mark}")]
        if prefix is not None:
            found = [start for start in found if start == prefix]
        students = [start for start in found if "student." in start]
        if len(found) > 1 and len(students) != 1:
            raise ValueError(
                f"expected one network, found {len(found)}, under {', '.join(map(repr, found))}; "
                "say which with init_cfg.prefix"
            )
        if found:
            return known, (students or found)[0]
    return None


def _dense(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A weight of FCMAE's sparse encoder as the dense network has it.

    MinkowskiEngine numbers a kernel's positions column by column, and keeps them in front: (k², in,
    out), depthwise (k², channels). Its norms and linear layers are wrapped once more.
    """
    name = re.sub(r"\.(ln|linear)\.", ".", name)
    if not name.endswith(".kernel"):
        return name, value
    if value.ndim not in (2, 3) or math.isqrt(len(value)) ** 2 != len(value):
        return name.removesuffix("kernel") + "weight", value  # of a shape that fits nowhere
    size = math.isqrt(len(value))
    if value.ndim == 2:
        value = value[:, None]
    value = value.permute(2, 1, 0).unflatten(-1, (size, size)).transpose(-1, -2)
    return name.removesuffix("kernel") + "weight", value.contiguous()


def _block(there: str, names: str, grn: str = "grn.gamma grn.beta") -> Table:
    """Rows of a block: ``names`` of the depthwise layer, the norm, the pointwise layers (with a gap
    for 1 and 2) and layer scale; ``grn``: gain and offset."""
    here = "stages.{s}.{b}."
    dwconv, norm, pwconv, gamma = names.split()
    gain, offset = grn.split()
    return (
        (f"{there}{dwconv}.{{w}}", f"{here}dwconv.{{w}}"),
        (f"{there}{norm}.{{w}}", f"{here}norm.{{w}}"),
        (f"{there}{pwconv}.{{w}}", f"{here}pwconv{{k}}.{{w}}"),
        (f"{there}{gamma}", f"{here}gamma"),
        (f"{there}{gain}", f"{here}grn.gamma"),
        (f"{there}{offset}", f"{here}grn.beta"),
    )


def _torchvision() -> Table:
    """Stages and what lies between them are numbered through: stem 0, stages 1, 3, 5, 7."""
    rows: Table = (
        ("features.0.0.{w}", "downsample_layers.0.0.{w}"),
        ("features.0.1.{w}", "downsample_layers.0.1.{w}"),
    )
    for stage in range(4):
        if stage:
            rows += (
                (f"features.{2 * stage}.{{n}}.{{w}}", f"downsample_layers.{stage}.{{n}}.{{w}}"),
            )
        there, here = f"features.{2 * stage + 1}.{{b}}.", f"stages.{stage}.{{b}}."
        rows += (
            (f"{there}block.0.{{w}}", f"{here}dwconv.{{w}}"),
            (f"{there}block.2.{{w}}", f"{here}norm.{{w}}"),
            (f"{there}block.3.{{w}}", f"{here}pwconv1.{{w}}"),
            (f"{there}block.5.{{w}}", f"{here}pwconv2.{{w}}"),
            (f"{there}layer_scale", f"{here}gamma"),
        )
    return rows


_DOWNSAMPLE: Table = (("downsample_layers.{s}.{n}.{w}", "downsample_layers.{s}.{n}.{w}"),)
_NORMS: Table = (("norm{s}.{w}", "norm{s}.{w}"),)
_AUTHORS = _DOWNSAMPLE + _block("stages.{s}.{b}.", "dwconv norm pwconv{k} gamma") + _NORMS
# DINOv3's files have their norm, the last stage's, twice: `norm` and `norms.3`.
_DINOV3: Table = (("norms.3.{w}", "norm3.{w}"),)
_MMPRETRAIN = (
    _DOWNSAMPLE + _block("stages.{s}.{b}.", "depthwise_conv norm pointwise_conv{k} gamma") + _NORMS
)
_HF_NAMES = "depthwise_conv layer_norm pointwise_conv{k} gamma"


def _timm(stem: str, stages: str) -> Table:
    return (
        (f"{stem}{{n}}.{{w}}", "downsample_layers.0.{n}.{w}"),
        (f"{stages}{{s}}.downsample.{{n}}.{{w}}", "downsample_layers.{s}.{n}.{w}"),
        *_block(
            f"{stages}{{s}}.blocks.{{b}}.",
            "conv_dw norm mlp.fc{k} gamma",
            grn="mlp.grn.weight mlp.grn.bias",
        ),
    )


def _transformers_dinov3(model: str) -> Table:
    # The stem's two layers come in the order of ours, like the later stages'.
    return (
        (f"{model}stages.{{s}}.downsample_layers.{{n}}.{{w}}", "downsample_layers.{s}.{n}.{w}"),
        *_block(f"{model}stages.{{s}}.layers.{{b}}.", _HF_NAMES),
        ("layer_norm.{w}", "norm3.{w}"),
        # The bare network inside of somebody's model, as its `model`.
        *((("model.layer_norm.{w}", "norm3.{w}"),) if model else ()),
    )


_TRANSFORMERS: Table = (
    ("embeddings.patch_embeddings.{w}", "downsample_layers.0.0.{w}"),
    ("embeddings.layernorm.{w}", "downsample_layers.0.1.{w}"),
    ("encoder.stages.{s}.downsampling_layer.{n}.{w}", "downsample_layers.{s}.{n}.{w}"),
    *_block(
        "encoder.stages.{s}.layers.{b}.",
        "dwconv layernorm pwconv{k} layer_scale_parameter",
        grn="grn.weight grn.bias",
    ),
    *((f"hidden_states_norms.stage{stage + 1}.{{w}}", f"norm{stage}.{{w}}") for stage in range(4)),
)

AUTHORS = Format("the authors'", _AUTHORS + _DINOV3, final_norm="norm.{w}")
FORMATS = (
    Format("FCMAE", _AUTHORS, prepare=_dense, mark="stages.0.0.dwconv.kernel"),
    AUTHORS,
    Format("mmpretrain", _MMPRETRAIN),
    Format("timm", _timm("stem.", "stages."), final_norm="head.norm.{w}"),
    Format("timm, features only", _timm("stem_", "stages_")),
    Format("torchvision", _torchvision(), final_norm="classifier.0.{w}"),
    Format("transformers", _TRANSFORMERS, final_norm="layernorm.{w}"),
    Format("transformers, DINOv3", _transformers_dinov3("model.")),
    Format("transformers, DINOv3", _transformers_dinov3("")),
)
