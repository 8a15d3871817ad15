"""The official archives of COCO 2017 and ADE20K: where they are, how large, what they hold."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Archive:
    """A zip file on the data set's own server.

    Args:
        name: its file name.
        url: where it is.
        size: its size in bytes; None where only the server knows.
        about: about how many bytes it has, to plan with.
        unpacked: about how many bytes its files have.
        digest: ``algorithm:hexadecimal`` of the whole file; empty for none.
        folder: the folder inside that holds what is wanted.
        into: where in the data set's folder the content of ``folder`` goes; empty for the top.
    """

    name: str
    url: str
    size: int | None
    about: int
    unpacked: int
    digest: str
    folder: str
    into: str


_COCO = "http://images.cocodataset.org"
# Plain HTTP, as both servers are documented: the digests are what tells a tampered file. COCO's
# are those of TensorFlow Datasets' checksum list, ADE20K's is GluonCV's.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "coco": (
        Archive(
            name="annotations_trainval2017.zip",
            url=f"{_COCO}/annotations/annotations_trainval2017.zip",
            size=252_907_541,
            about=252_907_541,
            unpacked=820_000_000,
            digest="sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            folder="annotations",
            into="annotations",
        ),
        Archive(
            name="val2017.zip",
            url=f"{_COCO}/zips/val2017.zip",
            size=815_585_330,
            about=815_585_330,
            unpacked=820_000_000,
            digest="sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            folder="val2017",
            into="val2017",
        ),
        Archive(
            name="train2017.zip",
            url=f"{_COCO}/zips/train2017.zip",
            size=19_336_861_798,
            about=19_336_861_798,
            unpacked=19_400_000_000,
            digest="sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            folder="train2017",
            into="train2017",
        ),
    ),
    "ade20k": (
        Archive(
            name="ADEChallengeData2016.zip",
            url="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            size=None,
            about=1_000_000_000,
            unpacked=1_100_000_000,
            digest="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
            folder="ADEChallengeData2016",
            into="",
        ),
    ),
}
