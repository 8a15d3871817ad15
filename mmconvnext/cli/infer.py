"""``infer``: what a trained model finds in pictures and videos, as files and painted pictures."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_config_options
from mmconvnext.cli.predicting import (
    add_predicting_options,
    build_predictor,
    predicting_settings,
    without_config_warnings,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.data.sources import Listing
    from mmconvnext.inference.category_ids import CategoryIds
    from mmconvnext.inference.predictor import Predictor

_NAMED = 20  # skipped pictures in the last lines; all are in skipped.txt


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 failed or pictures skipped, 2 bad input, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        args = parser().parse_args(argv)
        with without_config_warnings():
            status = infer(args)

    return report_errors("mmconvnext infer", run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext infer",
        description="Find objects or classes in pictures and videos.",
    )
    add_config_options(options)
    options.add_argument("checkpoint", metavar="CHECKPOINT", help="the trained weights")
    options.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a picture, a video, a folder, a pattern ('a/**/*.jpg'), or a COCO file (.json)",
    )
    options.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where results go: a new folder"
    )
    again = options.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the earlier run in DIR")
    again.add_argument(
        "--overwrite", action="store_true", help="remove the earlier run's results in DIR first"
    )
    options.add_argument(
        "--no-pictures", action="store_true", help="write results only, paint nothing"
    )
    options.add_argument(
        "--image-dir", type=Path, metavar="DIR", help="where the pictures of a COCO file lie"
    )
    options.add_argument(
        "--data-root", metavar="DIR", help="use the data in DIR instead of the config's folder"
    )
    add_predicting_options(options)
    return options


def infer(args: argparse.Namespace) -> int:
    """Check the input, predict, and print what came of it; returns the exit status.

    Raises:
        UsageError, DataError, CheckpointError: bad input; nothing was written.
    """
    from PIL import Image

    from mmconvnext.cli.configs import config_digest, merge_options, read_config
    from mmconvnext.cli.device import pick_device
    from mmconvnext.cli.overrides import set_data_root
    from mmconvnext.cli.running import tell
    from mmconvnext.data.sources import list_sources
    from mmconvnext.inference.category_ids import category_ids

    # Links stay, as in the inputs' paths, with which it is compared.
    out = Path(os.path.abspath(args.out.expanduser()))  # noqa: PTH100
    _check_folder(out, args)
    Image.MAX_IMAGE_PIXELS = None  # large pictures are no attack when they are one's own
    cfg, changes = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    digest = config_digest(cfg)  # before the data's place, which results do not depend on
    if args.data_root is not None:
        set_data_root(cfg, str(Path(args.data_root).expanduser()))
    listing = list_sources(args.inputs, picture_folders=_picture_folders(args, cfg), without=out)
    predictor = build_predictor(args, cfg, pick_device(args.device, "none"))
    for line in changes:
        tell(line)
    ids = category_ids(predictor.legend.classes, listing.categories, cfg)
    return _run(args, predictor, listing, ids, _settings(args, digest, ids.ids), out)


def _run(
    args: argparse.Namespace,
    predictor: Predictor,
    listing: Listing,
    ids: CategoryIds,
    settings: dict[str, Any],
    out: Path,
) -> int:
    from mmconvnext.cli.meter import Meter
    from mmconvnext.cli.running import tell
    from mmconvnext.inference.journal import Journal, JournalError
    from mmconvnext.inference.output import JOURNAL, clear, finish
    from mmconvnext.inference.run import FolderRun

    legend = predictor.legend
    tell(f"{len(legend.classes)} classes, as {legend.source} names them")
    if predictor.task == "detection":
        tell(f"category ids: {ids.source}")
    if args.overwrite:
        clear(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        journal = Journal(out / JOURNAL, settings, resume=args.resume)
    except JournalError as error:
        raise UsageError(f"--resume: {error}") from error
    with journal, Meter(predictor.task, "pictures") as meter:
        if journal.names:
            tell(f"{len(journal.names):,} pictures were finished before")
        run = FolderRun(
            predictor,
            out,
            journal,
            ids.ids,
            batch_size=args.batch_size,
            paints=not args.no_pictures,
            progress=meter.show,
        )
        run.run(listing.sources)
    count = finish(out, journal, predictor, ids, run.skipped)
    tell(f"{count:,} pictures and frames done: {out}")
    return _report_skipped(run.skipped, out)


def _report_skipped(skipped: dict[str, str], out: Path) -> int:
    from mmconvnext.inference.output import SKIPPED

    if not skipped:
        return DONE
    for name, reason in list(skipped.items())[:_NAMED]:
        print(f"mmconvnext infer: skipped {name!r}: {reason}", file=sys.stderr)
    print(
        f"mmconvnext infer: {len(skipped):,} skipped, all named in {out / SKIPPED}", file=sys.stderr
    )
    return FAILED


def _check_folder(out: Path, args: argparse.Namespace) -> None:
    from mmconvnext.inference.journal import earlier_run
    from mmconvnext.inference.output import JOURNAL

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {args.out}: is a file, a folder is needed")
    is_run = earlier_run(out / JOURNAL)
    if args.resume and not is_run:
        raise UsageError(f"--resume: there is no earlier run in {args.out}")
    if args.resume or not out.is_dir() or not any(out.iterdir()):
        return
    if not is_run:
        raise UsageError(f"--out {args.out}: has files of something else, name a new folder")
    if not args.overwrite:
        raise UsageError(
            f"--out {args.out}: has an earlier run's results; go on with --resume, or remove them "
            "with --overwrite"
        )


def _picture_folders(args: argparse.Namespace, cfg: Config) -> list[Path]:
    """Where a COCO file's pictures may be: as told, else as the config's test data set has them."""
    from mmconvnext.adapt.walking import innermost

    if args.image_dir is not None:
        return [args.image_dir.expanduser()]
    loader: Any = cfg.get("test_dataloader") or {}
    return [
        Path(dataset.get("data_root") or "") / (dataset.get("data_prefix") or {}).get("img", "")
        for dataset in innermost(loader.get("dataset") or {"datasets": ()})
    ]


def _settings(
    args: argparse.Namespace, digest: str, category_ids: tuple[int, ...]
) -> dict[str, Any]:
    """What results depend on, to be compared before a run goes on; ``digest``: the config's."""
    return {
        **predicting_settings(args, digest),
        "pictures": not args.no_pictures,
        "category ids": list(category_ids),
    }


if __name__ == "__main__":
    sys.exit(main())
