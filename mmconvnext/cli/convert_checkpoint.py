"""``convert-checkpoint``: weights of any layout into a file with our names, or timm's."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_trust_option
from mmconvnext.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

    from mmconvnext.checkpoints.converting import Conversion
    from mmconvnext.checkpoints.translating import Converted

SUFFIXES = (".safetensors", ".pth", ".pt")
TARGETS = ("native", "timm", "authors")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext convert-checkpoint",
        lambda: convert_checkpoint(parser().parse_args(argv)),
        debug="--debug" in argv,
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext convert-checkpoint",
        description="Write the weights of a ConvNeXt, or of a model with one, from any known "
        "layout to a .safetensors or .pth file. Metadata is kept; optimizers, schedulers and logs "
        "are left out.",
    )
    options.add_argument(
        "src", metavar="SRC", help="checkpoint: a file, its address, or a name of published weights"
    )
    options.add_argument("dst", metavar="DST", help=f"file to write: {', '.join(SUFFIXES)}")
    options.add_argument(
        "--to",
        choices=TARGETS,
        default="native",
        help="whose names to use (default: native). The authors' are ours, but for their "
        "classifiers; timm has no detectors and segmentors, so its files get the backbone only",
    )
    options.add_argument(
        "--backbone-only",
        action="store_true",
        help="of a whole model, write the backbone's weights only, without prefix",
    )
    options.add_argument(
        "--ema", action="store_true", help="take the averaged weights beside the trained ones"
    )
    options.add_argument(
        "--prefix", help="where in SRC the ConvNeXt is, if several are (e.g. teacher.backbone)"
    )
    options.add_argument("--force", action="store_true", help="replace DST if it exists")
    add_trust_option(options)
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def convert_checkpoint(args: argparse.Namespace) -> None:
    """Read, convert, write, then tell what was done.

    Raises:
        UsageError: DST has another suffix, exists, or cannot be there.
        CheckpointError: SRC cannot be read, or has no ConvNeXt, several, or an incomplete one.
        OSError: DST cannot be written.
    """
    destination = Path(args.dst)
    check_destination(destination, args.force)
    from mmconvnext.checkpoints.converting import convert, find_networks
    from mmconvnext.checkpoints.loading import find_weights
    from mmconvnext.checkpoints.reading import read_checkpoint
    from mmconvnext.checkpoints.trust import trusting
    from mmconvnext.checkpoints.writing import read_meta, write_checkpoint

    source = f"checkpoint {args.src}"
    with trusting(args.trust_checkpoint):
        content = read_checkpoint(args.src)
    with _errors_name_the_options():
        weights = find_weights(content, ema=args.ema, source=source)
        networks = find_networks(weights, args.prefix, source)
    check_complete(networks[0], source)
    converted = convert(weights, networks, args.to, backbone_only=args.backbone_only)
    networks = networks if converted.whole else networks[:1]
    for network in networks[1:]:
        check_complete(network, source)
    meta, lost = read_meta(args.src, content)
    meta["mmconvnext"] = origin(args.src, networks[0].format.name)
    # The authors' classification code looks under `model`, everybody else's under `state_dict`.
    place = "model" if args.to == "authors" and not converted.whole else "state_dict"
    write_checkpoint(destination, converted.weights, meta, place)
    print(f"{args.src}: {_layouts(networks)}")
    for line in _left_out(content, weights, converted, lost):
        print(line)
    print(f"{args.dst}: {_written(destination, converted, args.to)}")


def check_destination(path: Path, force: bool) -> None:
    """Check what can be known of DST before the work.

    Raises:
        UsageError: another suffix, the file exists, or its folder cannot be written to.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"DST {path}: expected a file ending in {', '.join(SUFFIXES)}")
    if path.suffix == ".safetensors" and find_spec("safetensors") is None:
        raise UsageError(f"DST {path}: safetensors is not installed; pip install safetensors")
    if path.is_dir():
        raise UsageError(f"DST {path}: expected a file, found a folder")
    if path.exists() and not force:
        raise UsageError(f"DST {path} exists; --force replaces it")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"DST {path}: {folder} is no folder that can be written to")


def check_complete(network: Converted, source: str) -> None:
    """Check that ``network`` is a whole ConvNeXt, and of the kind that this package builds.

    Raises:
        CheckpointError: weights are missing or have other shapes.
    """
    import torch

    from mmconvnext.backbones import ConvNeXt
    from mmconvnext.checkpoints.fitting import STEM, Network, check_network
    from mmconvnext.checkpoints.reading import CheckpointError

    found, kind = network.weights, Network.of(network.weights)
    stem = found.get(STEM)
    if stem is None or stem.ndim != 4 or 0 in stem.shape:
        raise CheckpointError(f"{source}: expected a ConvNeXt with a stem of one 4x4 convolution")
    scaled = any(key.endswith(".gamma") and ".grn." not in key for key in found)
    try:
        with torch.device("meta"):
            expected = ConvNeXt(
                {"depths": kind.depths, "channels": kind.channels},
                in_channels=stem.shape[1],
                stem_patch_size=stem.shape[-1],
                use_grn=kind.grn,
                layer_scale_init_value=float(scaled),
            ).state_dict()
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    check_network(found, expected, source, "ConvNeXt")


def origin(source: str, layout: str) -> dict[str, str]:
    """Where a file's weights came from, for its metadata; folders are nobody's business."""
    from mmconvnext.checkpoints.zoo import WEIGHTS

    name = source if "://" in source else Path(source).name
    licence = {"licence": WEIGHTS[name].licence} if source in WEIGHTS else {}
    return {"version": __version__, "source": name, "format": layout, **licence}


@contextmanager
def _errors_name_the_options() -> Iterator[None]:
    """Errors that name a config's settings shall name this command's options."""
    from mmconvnext.checkpoints.reading import CheckpointError

    try:
        yield
    except CheckpointError as error:
        text = str(error).replace("init_cfg.prefix", "--prefix")
        raise CheckpointError(text.replace("without ema", "without --ema")) from error


def _layouts(networks: list[Converted]) -> str:
    found = [
        n.format.name + (f", under {n.prefix.removesuffix('.')}" if n.prefix else "")
        for n in networks
    ]
    return "; ".join(found)


def _left_out(
    content: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    converted: Conversion,
    lost: list[str],
) -> Iterator[str]:
    """A line for each reason for which something of the file is not written."""
    from mmconvnext.checkpoints.keys import shown

    for reason, keys in converted.dropped.items():
        yield f"dropped, {reason}: {len(keys)} ({shown(keys)})"
    used = {id(value) for value in weights.values()}

    def is_used(value: Any) -> bool:
        inner = value.values() if isinstance(value, Mapping) else [value]
        return any(id(item) in used for item in inner)

    others = [str(key) for key, value in content.items() if key != "meta" and not is_used(value)]
    if others:
        yield f"left out: {', '.join(others)}"
    if lost:
        yield f"left out, no plain data: {', '.join(lost)}"


def _written(path: Path, converted: Conversion, to: str) -> str:
    parameters = sum(value.numel() for value in converted.weights.values())
    return (
        f"{'whole model' if converted.whole else 'backbone'}, {to} names, "
        f"{len(converted.weights)} tensors, {parameters / 1e6:.1f} M parameters, "
        f"{path.stat().st_size / 1e6:.1f} MB"
    )
