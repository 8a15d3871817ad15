"""What users' data sets have in them, and what is to be said of it or to hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sample_bad_data as bad
import torch
from PIL import Image


@dataclasses.dataclass
class Case:
    """Args: what to break; what stopping says of it (None: it is fine); how many entries skipping
    leaves out; what else has to hold of sample 2, loaded without augmentation."""

    breaks: bad.Break
    said: str | None = None
    left_out: int = 1
    holds: Callable[[Any, Path], Any] = lambda sample, root: None


def is_like_the_original(tolerance: float) -> Callable[[Any, Path], None]:
    def check(sample: Any, root: Path) -> None:
        wanted = np.asarray(Image.open(root / "reference.png").convert("RGB")).astype(int)
        found = sample["inputs"].numpy()[::-1].transpose(1, 2, 0).astype(int)
        assert found.shape == wanted.shape and sample["inputs"].dtype == torch.uint8
        assert np.abs(found - wanted).max() <= tolerance

    return check


def keeping_reference(breaks: bad.Break, mode: str = "RGB") -> bad.Break:
    """As ``breaks``, and what Pillow makes of the picture beside it."""

    def apply(root: Path) -> None:
        folder = next(root.glob("images/train*"))
        before = Image.open(folder / "000001.png").convert(mode).convert("RGB")
        breaks(root)
        new = folder / "x.jpg" if (folder / "x.jpg").exists() else folder / "000001.png"
        after = before if mode == "L" else Image.open(new).convert("RGB")
        after.save(root / "reference.png")

    return apply


def size_is(height: int, width: int) -> Callable[[Any, Path], None]:
    def check(sample: Any, root: Path) -> None:
        assert sample["inputs"].shape == (3, height, width)
        truth = sample["data_samples"]
        if hasattr(truth, "gt_instances"):
            box = truth.gt_instances.bboxes.tensor
            assert (box >= 0).all() and (box[:, 2] <= width).all() and (box[:, 3] <= height).all()
        else:
            assert truth.gt_sem_seg.shape == (height, width)

    return check


def objects_are(count: int, ignored: int = 0) -> Callable[[Any, Path], None]:
    def check(sample: Any, root: Path) -> None:
        truth = sample["data_samples"]
        assert len(truth.gt_instances) == count
        assert len(truth.ignored_instances) == ignored
        assert torch.isfinite(truth.gt_instances.bboxes.tensor).all()

    return check


def labels_are(*wanted: int) -> Callable[[Any, Path], None]:
    def check(sample: Any, root: Path) -> None:
        assert sample["data_samples"].gt_instances.labels.tolist() == list(wanted)

    return check


LONG = (20_000, 200)
RLE = {"size": [64, 64], "counts": [64, 64, 64 * 62]}
DETECTION = {
    "truncated jpeg": Case(bad.picture(bad.cut_off(bad.jpeg())), r"image 2 \(x.jpg\).* is cut off"),
    "truncated png": Case(bad.picture(bad.cut_off(bad.png())), r"x.jpg is (cut off|not a picture)"),
    "zero-byte file": Case(bad.picture(bad.content(b"")), r"x.jpg is empty \(0 bytes\)"),
    "web page": Case(bad.picture(bad.content(b"<html>404")), r"x.jpg is not a picture"),
    "floats": Case(bad.picture(bad.floats), r"x.jpg is not a picture that OpenCV can read"),
    "absent": Case(
        lambda root: (root / "images/train/000001.png").unlink(), "1 of 4 images .*000001.png"
    ),
    "16-bit": Case(
        keeping_reference(bad.picture(bad.png(bad.sixteen_bits)), "L"),
        holds=is_like_the_original(0),
    ),
    "grey": Case(keeping_reference(bad.picture(bad.jpeg("L"))), holds=is_like_the_original(3)),
    "cmyk": Case(keeping_reference(bad.picture(bad.jpeg("CMYK"))), holds=is_like_the_original(3)),
    "exif-rotated, annotated as shown": Case(
        bad.picture(bad.turned((72, 64)), size=(64, 72)), holds=size_is(72, 64)
    ),
    "exif-rotated, annotated as stored": Case(
        bad.picture(bad.turned((72, 64)), size=(72, 64)),
        "is 64x72 pixels, its annotations are for 72x64: its EXIF data turn it .*ignore_orient",
    ),
    "other size": Case(
        bad.picture(bad.jpeg(size=(60, 50))), "is 60x50 pixels, its annotations are for 64x64"
    ),
    "1x1": Case(bad.picture(bad.jpeg(size=(1, 1)), size=(1, 1)), holds=objects_are(0)),
    "20,000x200": Case(bad.picture(bad.jpeg(size=LONG), size=LONG), holds=size_is(200, 20_000)),
    "a line": Case(
        bad.picture(bad.jpeg(size=(5000, 1)), size=(5000, 1)),
        "5000x1 pixels: made to fit 64x64.* nothing is left",
    ),
    "non-ASCII path": Case(bad.picture(bad.png(), "Käse 写真.png"), holds=size_is(64, 64)),
    "box outside": Case(bad.objects(bbox=[200, 200, 9, 9]), holds=objects_are(0)),
    "box of zero size": Case(bad.objects(bbox=[5, 5, 0, 0]), holds=objects_are(0)),
    "box with NaN": Case(bad.objects(bbox=[float("nan"), 1, 5, 5]), "expected bbox=", 2),
    "box of three numbers": Case(
        bad.objects(bbox=[1, 2, 3]),
        r"annotation \d+ of image 2: expected bbox=.*found \[1, 2, 3\]",
        2,
    ),
    "no box": Case(bad.objects(bbox=None), "expected bbox=.* found None", 2),
    "no area": Case(bad.objects(area=None), "expected an area in square pixels, found None", 2),
    "no width": Case(
        bad.edit(lambda c: c["images"][1].pop("width")), "expected a width in whole pixels"
    ),
    "two points": Case(bad.objects(segmentation=[[1, 1, 9, 9]]), holds=objects_are(0, 2)),
    "two points and a triangle": Case(
        bad.objects(segmentation=[[1, 1, 9, 9], [1, 1, 9, 1, 9, 9]]), holds=objects_are(2)
    ),
    "polygon not in a list": Case(
        bad.objects(segmentation=[1, 1, 9, 1, 9, 9]), "expected a list of polygons", 2
    ),
    "polygon with a word": Case(
        bad.objects(segmentation=[[1, 1, "9", 1, 9, 9]]), "no finite number", 2
    ),
    "no outline": Case(bad.objects(segmentation=[]), "2 of 7 annotations .* no 'segmentation'", 2),
    "run lengths": Case(bad.objects(segmentation=RLE), holds=objects_are(2)),
    "run lengths of another size": Case(
        bad.objects(segmentation={**RLE, "size": [32, 32]}),
        r"run lengths are of size \[32, 32\], the image is \[64, 64\]",
        2,
    ),
    "run lengths too short": Case(
        bad.objects(segmentation={**RLE, "counts": [9, 9]}),
        "cover 18 pixels, the image has 4096",
        2,
    ),
    "run lengths too long": Case(
        bad.objects(segmentation={**RLE, "counts": [0, 99_999]}), "cover 99999 pixels", 2
    ),
    "garbled run lengths": Case(
        bad.objects(segmentation={**RLE, "counts": "~~~"}), "run lengths c(over|annot be read)", 2
    ),
    "crowd-only": Case(bad.objects(iscrowd=1), holds=objects_are(0, 2)),
    "no objects": Case(bad.edit(bad.without_objects), holds=objects_are(0)),
    "duplicate annotation ids": Case(
        bad.objects(id=1), "annotation 1 of image 2: the id 1 is there twice", 2
    ),
    "duplicate image ids": Case(
        bad.edit(lambda c: c["images"][1].update(id=1)), r"image 1 \(0000.*several images", 2
    ),
    "category ids with gaps": Case(bad.edit(bad.with_gaps), holds=objects_are(2)),
    "unknown category": Case(bad.objects(category_id=99), holds=objects_are(0)),
    "unknown image": Case(bad.objects(image_id=99), holds=objects_are(0)),
    "category of a list": Case(bad.objects(category_id=[1]), r"category_id is \[1\]", 2),
    "with info": Case(bad.edit(lambda c: c.update(info={})), holds=objects_are(2)),
}
SEGMENTATION = {
    "truncated jpeg": Case(bad.seg_picture(bad.cut_off(bad.jpeg())), "000001.png is cut off"),
    "zero-byte file": Case(bad.seg_picture(bad.content(b"")), r"000001.png is empty \(0 bytes\)"),
    "absent picture": Case(
        bad.both(
            lambda root: (root / "images/training/000001.png").unlink(),
            lambda root: (root / "list.txt").write_text("000000\n000001\n"),
        ),
        "1 of 2 images named in .*list.txt are not in",
    ),
    "absent mask": Case(
        lambda root: (root / "annotations/training/000001.png").unlink(), "have no mask .*: 000001"
    ),
    "16-bit": Case(
        keeping_reference(bad.seg_picture(bad.png(bad.sixteen_bits)), "L"),
        holds=is_like_the_original(0),
    ),
    "grey": Case(bad.seg_picture(bad.jpeg("L")), holds=size_is(64, 64)),
    "cmyk": Case(
        keeping_reference(bad.seg_picture(bad.jpeg("CMYK"))), holds=is_like_the_original(3)
    ),
    "exif-rotated, mask as shown": Case(
        bad.both(
            bad.seg_picture(bad.turned((72, 64))),
            bad.mask(bad.png(lambda p: p.resize((64, 72), Image.Resampling.NEAREST))),
        ),
        holds=size_is(72, 64),
    ),
    "exif-rotated, mask as stored": Case(
        bad.both(
            bad.seg_picture(bad.turned((72, 64))),
            bad.mask(bad.png(lambda p: p.resize((72, 64), Image.Resampling.NEAREST))),
        ),
        "is 64x72 pixels, its annotations are for 72x64: its EXIF data turn it",
    ),
    "1x1": Case(
        bad.both(
            bad.seg_picture(bad.png(lambda p: p.resize((1, 1)))),
            bad.mask(bad.png(lambda p: p.resize((1, 1)))),
        ),
        holds=size_is(1, 1),
    ),
    "20,000x200": Case(
        bad.both(
            bad.seg_picture(bad.png(lambda p: p.resize(LONG))),
            bad.mask(bad.png(lambda p: p.resize(LONG, Image.Resampling.NEAREST))),
        ),
        holds=size_is(200, 20_000),
    ),
    "mask of another size": Case(
        bad.mask(bad.png(lambda p: p.resize((50, 60)))),
        "is 64x64 pixels, its annotations are for 50x60",
    ),
    "class out of range": Case(
        bad.mask(bad.png(lambda p: p.point(lambda value: 77))),
        "annotations/training/000001.png has the value 77, but 0 is not labelled, 1 to 4",
    ),
    "mask of colours": Case(
        bad.mask(bad.png(lambda p: p.convert("RGB"))), "000001.png has several channels"
    ),
    "empty mask file": Case(bad.mask(bad.content(b"")), "000001.png does not decode"),
    "truncated mask": Case(bad.mask(bad.cut_off(bad.png())), "000001.png does not decode"),
    "mask without labels": Case(bad.mask(bad.png(lambda p: p.point(lambda value: 0)))),
}
