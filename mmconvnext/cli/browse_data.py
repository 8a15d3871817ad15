"""``browse-data``: the pictures as the network gets them, with their labels, and what a data set
consists of."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_config_options, natural, positive

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config

    from mmconvnext.data.statistics import Statistics

Painted = tuple[str, "np.ndarray"]  # a title and a picture
_SIDE = 480  # pixels of a picture's longer side
_COLUMNS = 4
_MASKS_READ = 500  # for counting: reading all of ADE20K's takes minutes
_SPLITS = ("train", "val")
_KINDS = (".png", ".html")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext browse-data", lambda: browse(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext browse-data",
        description="Show pictures after augmentation with their boxes and masks, and count the "
        "data set's classes and sizes.",
    )
    add_config_options(options)
    options.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="pictures as a grid (.png) or a page (.html)",
    )
    options.add_argument(
        "--count", type=positive, default=12, metavar="N", help="pictures to show (default: 12)"
    )
    options.add_argument(
        "--split", choices=_SPLITS, default="train", help="whose data and pipeline (default: train)"
    )
    options.add_argument(
        "--before", action="store_true", help="beside each picture the one before augmentation"
    )
    options.add_argument(
        "--seed", type=natural, default=0, help="of the choice and the augmentation (default: 0)"
    )
    options.add_argument(
        "--data-root", metavar="DIR", help="use the data in DIR instead of the config's folder"
    )
    return options


def browse(args: argparse.Namespace) -> None:
    """Count, print, and paint what was asked for.

    Raises:
        UsageError, DataError: bad input; nothing was written.
    """
    from mmconvnext.cli import overrides
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.running import tell

    if args.out is not None and args.out.suffix.lower() not in _KINDS:
        raise UsageError(f"-o {args.out}: expected a file {' or '.join(_KINDS)}")
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root is not None:
        overrides.set_data_root(cfg, str(Path(args.data_root).expanduser()))
    with _quiet():
        dataset = build_dataset(cfg, args.split)
        names, palette = legend_of(dataset)
        painted = list(_painted(cfg, dataset, args, names, palette)) if args.out else []
        found = _count(dataset, names)
    _print_statistics(found)
    if args.out is not None:
        if args.out.suffix.lower() == ".html":
            _write_page(args, painted, found)
        else:
            _write_grid(args.out, painted)
        tell(f"written: {args.out}")


@contextmanager
def _quiet() -> Iterator[None]:
    """pycocotools tells of each file that it reads, mmseg warns of what it is given by itself."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def build_dataset(cfg: Config, split: str) -> Any:
    """The data set of a config's loader, wrappers and pipeline included.

    Raises:
        UsageError: the config has no such loader.
        DataError: a file of it is missing, or its labels disagree with the model.
    """
    from mmengine.registry import DATASETS, DefaultScope

    from mmconvnext.cli.datasets import check_loader, telling_of_emptied_data
    from mmconvnext.data.checks import DataError

    loader = f"{split}_dataloader"
    if not (cfg.get(loader) or {}).get("dataset"):
        raise UsageError(f"config {cfg.filename} has no {loader} with a dataset")
    check_loader(cfg, loader)
    scope = cfg.get("default_scope") or "mmengine"
    with DefaultScope.overwrite_default_scope(scope), telling_of_emptied_data():
        dataset = DATASETS.build(cfg[loader].dataset)
    if not len(dataset):  # one that does not pack its list
        raise DataError(f"{loader}: no picture is left by the data set's filters; see filter_cfg")
    return dataset


def legend_of(dataset: Any) -> tuple[tuple[str, ...], Sequence[tuple[int, int, int]]]:
    """Names and colours of a data set's classes; colours are made up where it has none."""
    from mmconvnext.data.checks import DataError
    from mmconvnext.inference.legend import colors_of

    names = tuple(map(str, dataset.metainfo.get("classes") or ()))
    if not names:
        raise DataError("the data set has no class names; set metainfo=dict(classes=(…)) of it")
    return names, colors_of(dataset.metainfo.get("palette"), len(names))


def _painted(
    cfg: Config,
    dataset: Any,
    args: argparse.Namespace,
    names: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> Iterator[Painted]:
    """Titles and painted pictures, with ``--before`` two for each sample."""
    from mmconvnext.data.samples import augmented, chosen, original
    from mmconvnext.visualization.samples import paint_sample

    preprocessor = cfg.get("data_preprocessor") or (cfg.get("model") or {}).get("data_preprocessor")
    order = "rgb" if (preprocessor or {}).get("rgb_to_bgr") else "bgr"  # mmcv loads BGR
    for number, index in enumerate(chosen(len(dataset), args.count, args.seed)):
        if args.before:
            sample = original(dataset, index)
            yield _title(sample, "before"), _shrunk(paint_sample(sample, names, palette))
        sample = augmented(dataset, index, order=order, seed=args.seed + number)
        painted = _shrunk(paint_sample(sample, names, palette))
        yield _title(sample, "after" if args.before else ""), painted


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """As large as it is shown: hundreds of pictures are kept until all are painted."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)


def _title(sample: Any, when: str) -> str:
    height, width = sample.picture.shape[:2]
    return " ".join(filter(None, (sample.name, f"{width}x{height}", when)))


def _write_grid(out: Path, painted: Sequence[Painted]) -> None:
    from PIL import Image

    from mmconvnext.cli.files import finished_file
    from mmconvnext.visualization import contact_sheet

    with finished_file(out) as file:
        pictures = ((title, Image.fromarray(picture)) for title, picture in painted)
        contact_sheet(pictures, columns=_COLUMNS, side=_SIDE).save(file, "PNG")


def _write_page(args: argparse.Namespace, painted: Sequence[Painted], found: Statistics) -> None:
    from mmconvnext.cli.configs import config_name
    from mmconvnext.cli.files import finished_file
    from mmconvnext.visualization.data_page import data_page

    subtitle = (
        f"{args.split} data as the pipeline gives them to the network"
        f"{', each beside the picture before' if args.before else ''}; seed {args.seed}"
    )
    each = 2 if args.before else 1
    samples = [painted[i : i + each] for i in range(0, len(painted), each)]
    with finished_file(args.out) as file:
        content = data_page(config_name(args.config), subtitle, samples, found)
        file.write_text(content, encoding="utf-8")


def _count(dataset: Any, names: Sequence[str]) -> Statistics:
    from mmconvnext.cli.data_report import Bars, console_for
    from mmconvnext.data.samples import innermost_of
    from mmconvnext.data.statistics import count_objects, count_pixels

    parts = list({id(part): part for part in innermost_of(dataset)}.values())
    if not all(_has_maps(part) for part in parts):
        return count_objects(parts, names)
    with Bars(console_for(stderr=True)) as bars:
        return count_pixels(
            parts,
            names,
            most=_MASKS_READ,
            progress=lambda done, total: bars.files("reading masks", done, total),
        )


def _has_maps(dataset: Any) -> bool:
    """Whether its labels are a class for each pixel: mmseg's, and mmdet's of that name."""
    return any(base.__name__ == "BaseSegDataset" for base in type(dataset).__mro__)


def _print_statistics(found: Statistics) -> None:
    from rich.table import Table
    from rich.text import Text

    from mmconvnext.cli.data_report import console_for, print_line
    from mmconvnext.data.statistics import class_rows, summary

    console = console_for(stderr=False)
    heads, rows = class_rows(found)
    table = Table(*heads)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *values in rows:
        table.add_row(Text(name), *(shown(value) for value in values))
    console.print(table)
    for line in summary(found):
        print_line(line, console)


def shown(value: float) -> str:
    """A count, or a share in per cent."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2%}"
