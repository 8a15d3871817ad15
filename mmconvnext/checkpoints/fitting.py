"""Whether a file's network is the model's, and what to do about the number of input channels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmconvnext.checkpoints.keys import compare_keys
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.translating import in_shape_of

STEM = "downsample_layers.0.0.weight"
STEMS = ("average", "repeat")
OUTPUT_NORM = re.compile(r"norm\d\.(weight|bias)")


@dataclass(frozen=True)
class Network:
    """What tells networks apart: blocks and channels of the stages, and V1 or V2."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    grn: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Network:
        """The network that has the weights, by our names."""
        kernels = {
            (int(match[1]), int(match[2])): value.shape[0] if value.ndim else 0
            for key, value in weights.items()
            if (match := re.fullmatch(r"stages\.(\d+)\.(\d+)\.dwconv\.weight", key))
        }
        stages = sorted({stage for stage, _ in kernels})
        return cls(
            tuple(sum(stage == s for s, _ in kernels) for stage in stages),
            tuple(kernels.get((stage, 0), 0) for stage in stages),
            any(".grn." in key for key in weights),
        )

    def __str__(self) -> str:
        """In words, e.g. ``V1 with depths 3-3-9-3 and channels 96-192-384-768``."""
        depths, channels = ("-".join(map(str, n)) for n in (self.depths, self.channels))
        return f"V{2 if self.grn else 1} with depths {depths} and channels {channels}"


def fit_stem(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], how: str | None, source: str
) -> dict[str, Tensor]:
    """``weights`` in the shapes of ``expected``, the stem's filters for as many input channels.

    Raises:
        CheckpointError: the number of input channels differs, and ``how`` is not one of STEMS.
    """
    found = {key: in_shape_of(value, expected.get(key)) for key, value in weights.items()}
    if how not in (None, *STEMS):
        raise CheckpointError(f"init_cfg.stem: expected one of {', '.join(STEMS)}, found {how!r}")
    wanted, stem = expected.get(STEM), found.get(STEM)
    if wanted is None or stem is None or stem.ndim != wanted.ndim:
        return found
    if stem.shape[1] in (0, wanted.shape[1]):
        return found
    theirs, ours = stem.shape[1], wanted.shape[1]
    if how is None:
        raise CheckpointError(
            f"{source}: its stem takes {theirs} input channels, the model's {ours}; set "
            f"in_channels={theirs}, or init_cfg.stem='average' or 'repeat' to make filters for all"
        )
    if how == "average":
        filters = stem.mean(1, keepdim=True).expand(-1, ours, -1, -1)
    else:
        filters = stem[:, [channel % theirs for channel in range(ours)]]
    found[STEM] = filters * (theirs / ours)  # the sum over the channels stays
    return found


def check_network(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, model: str
) -> None:
    """Check that ``found`` are the weights of the network that has ``expected``; the norms of its
    outputs may be missing, or too many.

    Raises:
        CheckpointError: they are of another network: which one.
    """
    theirs, ours = Network.of(found), Network.of(expected)
    if theirs != ours:
        raise CheckpointError(
            f"{source} is of another network than {model}: expected {ours}, found {theirs}; "
            "set arch and use_grn to the file's"
        )
    compare_keys(expected, found).but(OUTPUT_NORM).check(source, model)
