"""Checks of a segmentation data set's masks: are they one channel of numbers of the classes?

A number without a class ends training on a CPU with an index error and on a GPU with a failed
assertion in a kernel, neither of which says which mask it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from mmconvnext.data.checks import DataError

_LOOKED_AT = 20
_IGNORED = 255


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Which numbers masks may have.

    Args:
        classes: how many classes the data set has.
        reduce_zero_label: 0 in a mask stands for "not labelled", the first class for 1.
        named_in: the data set, as errors call it.
    """

    classes: int
    reduce_zero_label: bool
    named_in: str

    @property
    def first(self) -> int:
        """The number of the first class."""
        return 1 if self.reduce_zero_label else 0

    @property
    def meant(self) -> str:
        """What the numbers mean, in words."""
        numbers = (
            f"0 is not labelled, 1 to {self.classes} are"
            if self.reduce_zero_label
            else f"0 to {self.classes - 1} are"
        )
        return f"{numbers} the {self.classes} classes of {self.named_in}, {_IGNORED} counts nowhere"

    def problem(self, values: Iterable[int]) -> str:
        """What is wrong with a mask that consists of ``values``; empty if nothing is."""
        highest = max((value for value in values if value != _IGNORED), default=0)
        if highest < self.first + self.classes:
            return ""
        return f"has the value {highest}, but {self.meant}"

    def labelled(self, values: Iterable[int]) -> bool:
        """Whether a mask that consists of ``values`` labels anything."""
        return any(value >= self.first for value in values if value != _IGNORED)

    def check_labelled(self, any_is: bool, paths: Sequence[str]) -> None:
        """Check that ``any_is``: that any of the masks ``paths`` labels something.

        Raises:
            DataError: none does, and there are masks.
        """
        if paths and not any_is:
            raise DataError(f"masks such as {paths[0]} label nothing: {self.meant}")


def check_masks(
    paths: Sequence[str], classes: int, *, reduce_zero_label: bool, named_in: str
) -> None:
    """Look at up to 20 masks, evenly spaced among ``paths``.

    Args:
        paths: the mask files.
        classes, reduce_zero_label, named_in: as in :class:`Numbers`.

    Raises:
        DataError: a mask has several channels or a number without a class, or none of those looked
        at has a number of a class.
    """
    from PIL import Image

    numbers = Numbers(classes, reduce_zero_label, named_in)
    learnt = False
    for path in paths[:: -(-len(paths) // _LOOKED_AT) or 1]:
        try:
            with Image.open(path) as picture:
                mask = np.asarray(picture)
        except Exception as error:  # damaged files raise whatever the decoder stumbles over
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"mask {path} does not decode: {reason}; get it again") from error
        if mask.ndim != 2:
            raise DataError(
                f"mask {path} has {mask.shape[2]} channels; expected one channel of class numbers"
            )
        values = list(map(int, np.unique(mask)))
        problem = numbers.problem(values)
        if problem:
            raise DataError(f"mask {path} {problem}")
        learnt |= numbers.labelled(values)
    numbers.check_labelled(learnt, paths)
