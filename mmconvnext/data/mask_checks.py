"""Checks of a segmentation data set's masks: are they one channel of numbers of the classes?

A number without a class ends training on a CPU with an index error and on a GPU with a failed
assertion in a kernel, neither of which says which mask it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmconvnext.data.checks import DataError

_LOOKED_AT = 20
_IGNORED = 255


def check_masks(
    paths: Sequence[str], classes: int, *, reduce_zero_label: bool, named_in: str
) -> None:
    """Look at up to 20 masks, evenly spaced among ``paths``.

    Args:
        paths: the mask files.
        classes: how many classes the data set has.
        reduce_zero_label: 0 in a mask stands for "not labelled", the first class for 1.
        named_in: the data set, as errors call it.

    Raises:
        DataError: a mask has several channels or a number without a class, or none of those looked
        at has a number of a class.
    """
    from PIL import Image

    first = 1 if reduce_zero_label else 0
    numbers = f"0 is not labelled, 1 to {classes} are" if first else f"0 to {classes - 1} are"
    meant = f"{numbers} the {classes} classes of {named_in}, {_IGNORED} counts nowhere"
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
        values = [int(value) for value in np.unique(mask) if value != _IGNORED]
        if values and values[-1] >= first + classes:
            raise DataError(f"mask {path} has the value {values[-1]}, but {meant}")
        learnt |= any(value >= first for value in values)
    if paths and not learnt:
        raise DataError(f"masks such as {paths[0]} label nothing: {meant}")
