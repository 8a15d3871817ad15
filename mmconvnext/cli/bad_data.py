"""``--on-bad-data``: looks at all data before a run; refuses what is bad or leaves it out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from mmconvnext.cli.data_report import Bars, console_for
from mmconvnext.cli.processes import rank, world_size
from mmconvnext.data import presence
from mmconvnext.data.bad_annotations import Bad, find_bad_entries
from mmconvnext.data.checks import DataError
from mmconvnext.data.mask_checks import Numbers
from mmconvnext.data.picture_checks import Loading, fingerprint, mask_problems, picture_problems

if TYPE_CHECKING:
    from mmconvnext.cli.datasets import DataSet

LEFT_OUT = "data_left_out"  # a folder in the work directory
_REMEMBERED = "checked_data.json"
_SHOWN = 3


class DataCheck:
    """Looks at every annotation, at every picture's header, and at every mask.

    Args:
        cfg: the config; data sets in it that have something bad get lists without it, if ``skip``.
        skip: leave out what is bad instead of refusing it.
        decode: the loaders whose pictures are decoded completely as well.
        plain: draw no bar on a terminal.
    """

    def __init__(
        self, cfg: Config, *, skip: bool, decode: Sequence[str] = (), plain: bool = True
    ) -> None:
        self.skip = skip
        self.bad: dict[str, list[Bad]] = {}
        self._pictures_of: dict[str, tuple[int, int]] = {}  # of each loader: used, listed
        self._decode = decode
        self._folder = Path(cfg.work_dir).resolve()
        self._written: dict[Path, str] = {}
        self._instead: dict[str, Path] = {}
        self._moves: list[tuple[Any, str]] = []  # what is to name another annotation file, which
        self._remembered = self._recall() if cfg.get("resume") else {}
        self._fresh: dict[str, Any] = {}
        quiet = plain or rank() > 0
        self._bars = None if quiet else Bars(console_for(stderr=True))

    def check_coco(self, dataset: DataSet, path: str, content: dict[str, Any], folder: str) -> None:
        """Check a data set in COCO's format.

        Args:
            dataset: in the config.
            path: its annotation file.
            content: what is in it.
            folder: its pictures'.

        Raises:
            DataError: nothing is left.
        """
        bad = find_bad_entries(content, masks=dataset.masks)
        places = {
            number: os.path.join(folder, image["file_name"])  # noqa: PTH118  (100,000 of them)
            for number, image in enumerate(content["images"])
            if number not in bad.images
        }
        sizes = {
            place: (int(image["width"]), int(image["height"]))
            for number, image in enumerate(content["images"])
            if (place := places.get(number))
        }
        gone = self._pictures(dataset, sizes)
        bad.images |= {n: f"{p} {gone[p]}" for n, p in places.items() if p in gone}
        listed = len(content["images"])
        self._note(dataset, bad.described(path, content), listed - len(bad.images), listed)
        if self.skip and (bad.images or bad.annotations):
            kept = bad.left_out_of(content)
            if not kept["images"]:
                raise DataError(f"{path}: no image is left, the first: {self._shown(dataset)}")
            self._replace(dataset, path, ".json", json.dumps(kept))

    def check_segmentation(
        self, dataset: DataSet, names: Sequence[str], pictures: str, masks: str | None
    ) -> None:
        """Check a data set in mmseg's layout.

        Args:
            dataset: in the config.
            names: of its pictures and masks, without suffix.
            pictures, masks: their folders; it may have no masks.

        Raises:
            DataError: nothing is left, or the masks label nothing.
        """
        files = {n: f"{pictures}/{n}{dataset.default('img_suffix')}" for n in sorted(names)}
        suffix = dataset.default("seg_map_suffix")
        maps = {n: f"{masks}/{n}{suffix}" for n in files} if masks is not None else {}
        gone, sizes = self._masks(dataset, list(maps.values()))
        sound = {n: path for n, path in files.items() if maps.get(n) not in gone}
        gone |= self._pictures(
            dataset, {path: sizes[maps[n]] if maps else None for n, path in sound.items()}
        )
        kept = [n for n, path in files.items() if path not in gone and maps.get(n) not in gone]
        found = [Bad(path, "", reason) for path, reason in gone.items()]
        self._note(dataset, found, len(kept), len(files))
        if self.skip and gone:
            if not kept:
                raise DataError(f"{pictures}: no picture is left, {self._shown(dataset)}")
            listed = dataset.path(dataset.cfg.get("ann_file") or "")
            self._replace(dataset, listed, ".txt", "".join(f"{name}\n" for name in kept))

    def check_pictures(self, dataset: DataSet, paths: Sequence[str], folder: str) -> None:
        """Check a data set of class folders.

        Args:
            dataset: in the config.
            paths: of its pictures.
            folder: of the class folders, part of the paths.

        Raises:
            DataError: nothing is left.
        """
        gone = self._pictures(dataset, dict.fromkeys(paths))
        kept = [path for path in paths if path not in gone]
        found = [Bad(path, "", reason) for path, reason in gone.items()]
        self._note(dataset, found, len(kept), len(paths))
        if self.skip and gone:
            if not kept:
                raise DataError(f"{folder}: no picture is left, {self._shown(dataset)}")
            listed = dataset.path(dataset.cfg.get("ann_file") or "")
            names = (os.path.relpath(path, folder) for path in kept)
            self._replace(dataset, listed, ".txt", "".join(f"{name}\n" for name in names))

    def follow(self, metric: dict[str, Any]) -> None:
        """Have an evaluator compare with what is left of the annotation file that it names."""
        path = metric.get("ann_file")
        for original, instead in self._instead.items():
            if path and Path(original).is_file() and Path(path).samefile(original):
                self._moves.append((metric, str(instead)))

    def settle(self) -> None:
        """Have all that is bad told in one error, or the config name lists without it.

        Raises:
            DataError: there is something bad, and nothing is to be left out.
        """
        found = [bad for entries in self.bad.values() for bad in entries]
        if found and not self.skip:
            more = len(found) - _SHOWN
            raise DataError(
                "; ".join(map(str, found[:_SHOWN]))
                + (f"; and {more} more bad entries" if more > 0 else "")
                + "; --on-bad-data skip goes on without them"
            )
        for node, path in self._moves:
            node["ann_file"] = path

    def write(self) -> list[str]:
        """Write the lists without what is bad, and what was seen, into the work directory.

        Returns:
            A line to tell for each loader that something is left out of.
        """
        for path, text in self._written.items():
            _write(path, text)
        if self._fresh and rank() == 0:
            _write(self._folder / _REMEMBERED, json.dumps(self._fresh))
        return [self._line(place) for place in self.bad if self.bad[place]]

    def _line(self, place: str) -> str:
        found = self.bad[place]
        listed = self._folder / LEFT_OUT / f"{place}.txt"
        if rank() == 0:
            _write(listed, "".join(f"{bad}\n" for bad in found))
        used, total = self._pictures_of[place]
        what = "trains on" if place.startswith("train") else "figures are over"
        return (
            f"bad data: {place}: {what} {used} of {total} pictures, {len(found)} bad entries are "
            f"left out ({self._shown_of(found)}); all are named in {listed}"
        )

    def _pictures(
        self, dataset: DataSet, sizes: Mapping[str, tuple[int, int] | None]
    ) -> dict[str, str]:
        loading = Loading.of(dataset.cfg.get("pipeline"))
        if loading is None:
            return {}
        absent = set(presence.absent_files(sizes, ""))
        there = [path for path in sizes if path not in absent]
        decoders = _processes() if dataset.place in self._decode else 0
        expected = [sizes[path] for path in there]
        key = fingerprint(there, expected, loading, bool(decoders))
        found = self._remembered.get(key)
        if found is None:
            found = picture_problems(
                there, expected, loading, decoders=decoders, progress=self._progress(dataset)
            )
        self._fresh[key] = found
        return {**dict.fromkeys(sorted(absent), "does not exist"), **found}

    def _masks(
        self, dataset: DataSet, paths: list[str]
    ) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
        absent = set(presence.absent_files(paths, ""))
        there = [path for path in paths if path not in absent]
        # Of a data set that is loaded in part (classes of METAINFO left out), the masks have all.
        numbers = Numbers(
            len(dataset.known_classes or dataset.classes or ()),
            bool(dataset.default("reduce_zero_label")),
            f"{dataset.place} ({dataset.cls.__name__})",
        )
        one_pixel = all(_is_ours(step) for step in dataset.steps("LoadAnnotations"))
        key = fingerprint(there, numbers, one_pixel)
        known = self._remembered.get(key)
        if known is None:
            found, sizes = mask_problems(
                there,
                numbers,
                decoders=_processes(),
                one_pixel=one_pixel,
                progress=self._progress(dataset),
            )
            known = [found, sizes]
        self._fresh[key] = known
        measured = {path: tuple(size) for path, size in zip(there, known[1], strict=True)}
        return {**dict.fromkeys(sorted(absent), "does not exist"), **known[0]}, measured

    def _progress(self, dataset: DataSet) -> Any:
        bars = self._bars
        if bars is None:
            return None
        return lambda done, total: bars.files(f"checking {dataset.place}", done, total)

    def _note(self, dataset: DataSet, found: list[Bad], used: int, listed: int) -> None:
        before = self._pictures_of.get(dataset.place, (0, 0))
        self.bad.setdefault(dataset.place, []).extend(found)
        self._pictures_of[dataset.place] = before[0] + used, before[1] + listed

    def _replace(self, dataset: DataSet, original: str, suffix: str, text: str) -> None:
        path = self._folder / LEFT_OUT / f"{dataset.place}_{len(self._written)}{suffix}"
        self._written[path] = text
        self._instead[original] = path
        self._moves.append((dataset.cfg, str(path)))

    def _shown(self, dataset: DataSet) -> str:
        return self._shown_of(self.bad[dataset.place])

    def _shown_of(self, found: list[Bad]) -> str:
        return "; ".join(map(str, found[:_SHOWN])) + ("; …" if len(found) > _SHOWN else "")

    def _recall(self) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads((self._folder / _REMEMBERED).read_text())
            return known
        except (OSError, ValueError):
            return {}


def _is_ours(step: Any) -> bool:
    kind = step.get("type")
    return str(getattr(kind, "__module__", kind)).startswith("mmconvnext.")


def _processes() -> int:
    """How many processes this one may start: those launched with it do the same."""
    return max(1, len(os.sched_getaffinity(0)) // world_size())


def _write(path: Path, text: str) -> None:
    """Every process of a launch may write the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{rank()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
