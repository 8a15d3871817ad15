"""What a segmentation data set's config says about its labels: do its parts agree?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmconvnext.data.checks import DataError

if TYPE_CHECKING:
    from mmconvnext.cli.datasets import DataSet


def check_labels(dataset: DataSet) -> None:
    """Check that the data set has names for its classes, its type's own if it has some, and that
    the numbers in its masks are read as they are meant.

    Raises:
        DataError: what disagrees.
    """
    name = dataset.cls.__name__
    if dataset.classes is None:
        raise DataError(
            f"{dataset.place}: {name} has no class names of its own; set metainfo=dict(classes=(…))"
            " of the dataset, in the order of the numbers in the masks"
        )
    unknown = sorted(set(dataset.classes) - set(dataset.known_classes or dataset.classes))
    if unknown:
        raise DataError(
            f"{dataset.place}: {name} has {len(dataset.known_classes or ())} classes of its own, "
            f"{', '.join(unknown[:3])} not among them; set type='BaseSegDataset' of the dataset"
        )
    reduced = dataset.default("reduce_zero_label")
    for step in dataset.steps("LoadAnnotations"):
        if step.get("reduce_zero_label") not in (None, reduced):
            raise DataError(
                f"{dataset.place}: the dataset has reduce_zero_label={reduced}, LoadAnnotations in "
                f"its pipeline {step['reduce_zero_label']}; set both to the same: True if 0 in a "
                "mask means not labelled"
            )
