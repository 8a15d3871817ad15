"""Training pipelines of the recipes beside the hosts' own steps: milliseconds an image, one worker.

The targets are the issue's: 2.5 times mmdet's images a second, 1.5 times mmseg's.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, interleaved
from mmconvnext.compat.config_root import config_root
from mmconvnext.data.checks import DataError
from mmconvnext.data.photos import make_ade_photos, make_coco_photos

FAST = "mmconvnext.data.fast."
_PICTURES = 24  # made up, in each layout
_MOST = 100  # of a user's
# Title, recipe's data config, host, time allowed over the host's.
SUITES = (
    ("detection (DETR's augmentation)", "coco_instance", "mmdet", 1 / 2.5),
    ("detection (large-scale jitter)", "coco_instance_lsj", "mmdet", 1 / 2.5),
    ("segmentation (512x512 crops)", "ade20k", "mmseg", 1 / 1.5),
    ("segmentation (640x640 crops)", "ade20k_640", "mmseg", 1 / 1.5),
)
# What is done with a sample: (title's end, function). A worker pickles it for the training process.
_Use = Callable[[Any], object]


def measure(rounds: int = ROUNDS, data: Path | None = None) -> list[Table]:
    """A table a recipe, and another with the masks drawn; milliseconds an image.

    Args:
        rounds: how often each pipeline goes through the pictures.
        data: folder in COCO's layout (``train2017``, ``annotations/instances_train2017.json``) or
            ADE20K's (``images/training``, ``annotations/training``), whose first 100 pictures are
            taken. Those of the other layout, and of both by default, are made-up photographs.

    Raises:
        DataError: ``data`` has neither layout.
    """
    given = None if data is None else _host_of(data)
    with tempfile.TemporaryDirectory() as scratch, _like_a_worker():
        tables = []
        for title, config, host, target in SUITES:
            if host == given and data is not None:
                folder, whose = data, data.resolve().name
            else:
                folder, whose = _made_up(host, Path(scratch)), "made-up"
            uses: dict[str, _Use] = {"to another process": pickle.dumps}
            if host == "mmdet":
                uses["masks drawn"] = _draw
            for end, use in uses.items():
                rows = _rows(config, host, folder, use, rounds)
                full = f"training pipeline, {title}, {whose} pictures, {end}, one thread"
                # The target is for what a worker does; drawing belongs to the training process.
                limit = target if use is pickle.dumps else None
                tables.append(Table(full, "ms/image", rows, ("mmconvnext",), limit))
        return tables


def host_steps(node: Any) -> Any:
    """A pipeline's config with the hosts' own steps in the place of ours."""
    if isinstance(node, Mapping):
        return {key: host_steps(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(map(host_steps, node))
    if isinstance(node, str) and node.startswith(FAST):
        return node.rpartition(".")[2]
    return node


def dataset(config: str, folder: Path, steps: Callable[[Any], Any] = lambda node: node) -> Any:
    """The training set of ``configs/_base_/datasets/<config>.py`` on ``folder``.

    Args:
        config: name of the file, without its ending.
        folder: takes the place of its ``data_root``.
        steps: what becomes of its pipeline; :func:`host_steps`, for example.
    """
    from mmengine.config import Config
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope("mmdet" if config.startswith("coco") else "mmseg")
    cfg = Config.fromfile(config_root() / "_base_" / "datasets" / f"{config}.py")
    settings = cfg.train_dataloader.dataset.to_dict()
    settings.pop("filter_cfg", None)
    return DATASETS.build(
        {**settings, "data_root": f"{folder}/", "pipeline": steps(settings["pipeline"])}
    )


def _rows(config: str, host: str, folder: Path, use: _Use, rounds: int) -> list[Row]:
    if find_spec(host) is None:
        return [Row(name, note=f"{host} is not installed") for name in (host, "mmconvnext")]
    sets = {host: dataset(config, folder, host_steps), "mmconvnext": dataset(config, folder)}
    rows = interleaved({name: _epoch(found, use) for name, found in sets.items()}, rounds)
    for row in rows:
        row.values = [1000 * seconds / _number(sets[host]) for seconds in row.values]
    return rows


def _number(pictures: Any) -> int:
    return min(len(pictures), _MOST)


def _epoch(pictures: Any, use: _Use) -> Callable[[], object]:
    def run() -> None:
        for index in range(_number(pictures)):
            np.random.seed(index)  # the same random numbers for both
            use(pictures.pipeline(pictures.get_data_info(index)))

    return run


def _draw(sample: Any) -> object:
    return None if sample is None else sample["data_samples"].gt_instances.masks.masks


def _host_of(data: Path) -> str:
    """Which host's recipes have ``data``'s layout."""
    if (data / "annotations" / "instances_train2017.json").is_file():
        return "mmdet"
    if (data / "images" / "training").is_dir():
        return "mmseg"
    raise DataError(
        f"{data}: expected annotations/instances_train2017.json and train2017 (COCO's layout), or "
        "images/training and annotations/training (ADE20K's), found neither"
    )


def _made_up(host: str, scratch: Path) -> Path:
    folder = scratch / host
    if not folder.exists():
        folder.mkdir()
        (make_coco_photos if host == "mmdet" else make_ade_photos)(folder, _PICTURES)
    return folder


@contextmanager
def _like_a_worker() -> Iterator[None]:
    """One thread, as mmengine's workers have."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
