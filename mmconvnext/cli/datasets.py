"""Finds the files and classes of a config's data sets and has ``data.checks`` check them."""

from __future__ import annotations

import dataclasses
import inspect
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmconvnext.adapt.walking import class_counts, innermost
from mmconvnext.cli import class_checks
from mmconvnext.cli.label_checks import check_labels
from mmconvnext.data import checks, pair_checks, presence
from mmconvnext.data.bad_annotations import find_bad_entries
from mmconvnext.data.checks import DataError
from mmconvnext.data.mask_checks import check_masks

if TYPE_CHECKING:
    from mmconvnext.cli.bad_data import DataCheck

_SOURCES = {"coco": "coco", "ade": "ade20k"}


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One data set of a config: its dict, its class, where in the config it stands, and whether an
    evaluator compares masks with its outlines."""

    cfg: Mapping[str, Any]
    cls: type
    place: str
    compared: bool = False

    @property
    def source(self) -> str | None:
        """The public data set that it is, by its class, if one can say where to get it; classes of
        its own make it another."""
        if (self.cfg.get("metainfo") or {}).get("classes"):
            return None
        name = self.cls.__name__.lower()
        return next((source for start, source in _SOURCES.items() if name.startswith(start)), None)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of its classes; None if it leaves them open."""
        given = (self.cfg.get("metainfo") or {}).get("classes")
        if isinstance(given, str):
            if not Path(given).is_file():
                raise DataError(
                    f"{self.place}: metainfo.classes is the string {given!r}; a tuple of one "
                    f"needs a comma: ({given!r},)"
                )
            return tuple(Path(given).read_text(encoding="utf-8").split("\n"))
        return tuple(given) if given else self.known_classes

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """Names of the classes that every data set of its type has; None if there are no such."""
        names = getattr(self.cls, "METAINFO", {}).get("classes")
        return tuple(names) if names else None

    def path(self, relative: str) -> str:
        """``relative`` below its data root, as mmengine joins them."""
        return os.path.join(self.cfg.get("data_root") or "", relative)  # noqa: PTH118

    def default(self, argument: str) -> Any:
        """The value of a constructor argument that is in the config or has a default in its
        class."""
        for cls in self.cls.__mro__:
            parameter = inspect.signature(cls.__init__).parameters.get(argument)  # type: ignore[misc]
            if parameter is not None:
                return self.cfg.get(argument, parameter.default)
        return self.cfg.get(argument)

    def steps(self, name: str) -> list[Mapping[str, Any]]:
        """The steps of its pipeline that are of the type ``name``, whosever they are."""
        pipeline = self.cfg.get("pipeline") or ()
        kinds = [getattr(step.get("type"), "__name__", step.get("type")) for step in pipeline]
        return [
            step
            for step, kind in zip(pipeline, kinds, strict=True)
            if str(kind).rpartition(".")[2] == name
        ]

    @property
    def masks(self) -> bool:
        """Whether the outlines of its objects are read."""
        return self.compared or any(s.get("with_mask") for s in self.steps("LoadAnnotations"))

    def loads_like(self, base: str) -> bool:
        """Whether it reads its files exactly as the class named ``base``, which it inherits from,
        does."""
        for cls in self.cls.__mro__:
            if cls.__name__ == base:
                methods = ("load_data_list", "parse_data_info")
                return all(getattr(self.cls, m, None) is getattr(cls, m, None) for m in methods)
        return False


def check_loader(
    cfg: Config, loader: str, evaluator: str | None = None, data: DataCheck | None = None
) -> None:
    """Check the data sets of ``cfg[loader]``, the files of its evaluator, and the model's heads
    against both; with ``data`` each annotation, picture and mask as well.

    Raises:
        DataError: what is missing or disagrees.
    """
    metrics = (cfg.get(evaluator) if evaluator else None) or {}
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    compared = any("segm" in (metric.get("metric") or ()) for metric in metrics)
    datasets = [dataclasses.replace(each, compared=compared) for each in _datasets(cfg, loader)]
    for dataset in datasets:
        folders = _check_dataset(dataset, data)
        classes = folders or dataset.classes
        if classes is not None:
            checks.check_class_count(
                dict(class_counts(cfg.get("model"))),
                len(classes),
                f"{loader} ({dataset.cls.__name__})",
                or_else="" if folders else checks.NAMED_IN_CONFIG,
            )
    for metric in metrics:
        path = metric.get("ann_file")
        if path and "://" not in path:
            _check_ground_truth(f"{evaluator}: annotation file", path, datasets)
            if data is not None:
                data.follow(metric)


def check_class_folders_agree(cfg: Config) -> None:
    """Check that what is trained on and what is validated with number the same classes.

    Raises:
        DataError: they do not.
    """
    loaders = ("train_dataloader", "val_dataloader")
    class_checks.check_same_classes(*(list(_datasets(cfg, loader)) for loader in loaders))


@contextmanager
def telling_of_emptied_data() -> Iterator[None]:
    """Has a data set that is built inside, and of which its filters leave nothing, told by name:
    mmengine's error is "need at least one array to concatenate".

    Raises:
        DataError: there is one.
    """
    try:
        yield
    except ValueError as error:
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        packing = next((f for f in frames if f.f_code.co_name == "_serialize_data"), None)
        dataset = packing and packing.f_locals.get("self")
        if dataset is None:
            raise
        raise DataError(_emptied(dataset)) from error


def _emptied(dataset: Any) -> str:
    source = getattr(dataset, "ann_file", "") or getattr(dataset, "data_root", "")
    classes = ", ".join(map(str, dataset.metainfo.get("classes") or ())) or "none"
    return (
        f"no picture of {source or type(dataset).__name__} is left by the data set's filters: "
        f"filter_cfg={dict(dataset.filter_cfg or {})}, classes {classes}; loosen filter_cfg, or "
        "set metainfo=dict(classes=(…)) of the dataset to the file's names"
    )


def _datasets(cfg: Config, loader: str) -> Iterator[DataSet]:
    """The data sets in ``cfg[loader]`` that read files, inside however many wrappers."""
    scope = cfg.get("default_scope") or "mmengine"

    for node in innermost((cfg.get(loader) or {}).get("dataset") or {"datasets": ()}):
        kind = node.get("type")
        if isinstance(kind, str):
            with DATASETS.switch_scope_and_registry(node.get("_scope_") or scope) as registry:
                kind = registry.get(kind)
        if kind is None:
            raise DataError(f"{loader}: there is no dataset type {node.get('type')!r} in {scope}")
        # Files behind a storage service are not looked for.
        if not node.get("backend_args"):
            yield DataSet(node, kind, loader)


def _check_ground_truth(what: str, path: str, datasets: list[DataSet]) -> None:
    """Check the file that an evaluator compares results with: there, and of the same pictures."""
    lists = {
        dataset.path(dataset.cfg.get("ann_file") or ""): dataset
        for dataset in datasets
        if dataset.loads_like("CocoDataset")
    }
    if not Path(path).is_file() and lists:
        file, dataset = next(iter(lists.items()))
        raise DataError(
            f"{what} {path} does not exist; set its ann_file to {dataset.place}'s, {file}"
        )
    presence.check_file(path, what)
    others = {file: dataset for file, dataset in lists.items() if not Path(file).samefile(path)}
    if not others:
        return
    content = checks.load_coco(path)
    compared = any(dataset.compared for dataset in others.values())
    if bad := find_bad_entries(content, masks=compared).described(path, content):
        raise DataError(f"{what} {bad[0]}")
    truth = checks.coco_contents(path, content)
    for file, dataset in others.items():
        checks.check_ground_truth(
            f"{what} {path}", truth, file, checks.read_coco(file, labelled=False)
        )
        checks.check_categories(path, truth.categories, dataset.classes or ())


def _check_dataset(dataset: DataSet, data: DataCheck | None) -> tuple[str, ...] | None:
    """Check one data set; returns the classes that its folders are."""
    root = dataset.cfg.get("data_root")
    if root:
        presence.check_folder(root, f"{dataset.place}: data folder", dataset.source, "data_root")
    annotations = dataset.cfg.get("ann_file") or ""
    if annotations and not Path(dataset.path(annotations)).is_dir():
        presence.check_file(
            dataset.path(annotations),
            f"{dataset.place}: annotation file",
            dataset.source,
            "ann_file",
        )
    if dataset.loads_like("CocoDataset"):
        _check_coco(dataset, data)
    elif dataset.loads_like("BaseSegDataset"):
        _check_segmentation(dataset, data)
    elif dataset.loads_like(class_checks.KIND):
        return class_checks.check_class_folders(dataset, data)
    return None


def _check_coco(dataset: DataSet, data: DataCheck | None) -> None:
    path = dataset.path(dataset.cfg.get("ann_file") or "")
    presence.check_file(path, f"{dataset.place}: annotation file", dataset.source, "ann_file")
    labelled = not dataset.cfg.get("test_mode", False)
    content = checks.load_coco(path, labelled=labelled)
    contents = checks.coco_contents(path, content)
    if dataset.classes is not None:
        checks.check_categories(path, contents.categories, dataset.classes)
    if labelled:
        checks.check_annotations(path, contents, dataset.classes or contents.categories)
    folder = dataset.path((dataset.cfg.get("data_prefix") or {}).get("img", ""))
    presence.check_folder(folder, f"{dataset.place}: image folder", dataset.source, "data_prefix")
    if data is None or not data.skip:
        if dataset.masks:
            checks.check_outlines(path, contents)
        presence.check_pictures(contents.file_names, folder, path)
    if data is not None:
        data.check_coco(dataset, path, content, folder)


def _check_segmentation(dataset: DataSet, data: DataCheck | None) -> None:
    check_labels(dataset)
    prefixes = dataset.default("data_prefix") or {}
    pictures = dataset.path(prefixes.get("img_path") or "")
    presence.check_folder(pictures, f"{dataset.place}: image folder", dataset.source, "data_prefix")
    masks = prefixes.get("seg_map_path")
    if masks is not None:
        masks = dataset.path(masks)
        presence.check_folder(masks, f"{dataset.place}: mask folder", dataset.source, "data_prefix")
    names = _names(dataset, pictures, masks, complete=data is None or not data.skip)
    if data is not None:
        data.check_segmentation(dataset, names, pictures, masks)
    elif masks is not None:
        # Of a data set that is loaded in part (classes of METAINFO left out), the masks have all.
        check_masks(
            [f"{masks}/{name}{dataset.default('seg_map_suffix')}" for name in sorted(names)],
            len(dataset.known_classes or dataset.classes or ()),
            reduce_zero_label=bool(dataset.default("reduce_zero_label")),
            named_in=f"{dataset.place} ({dataset.cls.__name__})",
        )


def _names(dataset: DataSet, pictures: str, masks: str | None, *, complete: bool) -> list[str]:
    """Names, without suffix, of what a segmentation data set consists of; ``complete``: all of it
    must be there."""
    suffix, mask_suffix = dataset.default("img_suffix"), dataset.default("seg_map_suffix")
    listed = dataset.path(dataset.cfg.get("ann_file") or "")
    if not dataset.cfg.get("ann_file") or Path(listed).is_dir():
        pairs_with = masks if complete else None
        return pair_checks.check_pairs(pictures, pairs_with, suffix, mask_suffix)
    lines = Path(listed).read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines]
    if complete:
        presence.check_pictures([f"{name}{suffix}" for name in names], pictures, listed)
        if masks is not None:
            presence.check_pictures([f"{name}{mask_suffix}" for name in names], masks, listed)
    return names
