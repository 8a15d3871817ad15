"""What is installed, by its metadata: versions, what fits what, what a fresh set-up would take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from importlib import import_module, metadata

from mmconvnext.doctor.finding import described

FORK = "onedl-"  # what the maintained forks put before a distribution's name
_FORK_NAMES = {"mmdet": "onedl-mmdetection", "mmseg": "onedl-mmsegmentation"}
# The distributions that carry an import name.
CARRIERS = {
    "mmengine": ("mmengine", "mmengine-lite", "onedl-mmengine"),
    "mmcv": ("mmcv", "mmcv-lite", "mmcv-full", "onedl-mmcv"),
    "mmdet": ("mmdet", "onedl-mmdetection"),
    "mmseg": ("mmsegmentation", "onedl-mmsegmentation"),
    "mmpretrain": ("mmpretrain", "onedl-mmpretrain"),
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
}


def install(*packages: str, options: str = "") -> str:
    """The pip command for requirements, quoted where a shell would misread them."""
    return " ".join(["pip install", *options.split(), *map(shlex.quote, packages)])


def import_problem(name: str) -> tuple[str, str]:
    """Import ``name``: what went wrong and the module that is missing; both empty if nothing."""
    return tried(lambda: import_module(name))


def tried(action: Callable[[], object]) -> tuple[str, str]:
    """Call ``action``: what went wrong and the module that is missing; both empty if nothing."""
    try:
        action()
    except Exception as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else ""
        return described(error), absent or ""
    return "", ""


def version(distribution: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def carriers(package: str) -> dict[str, str]:
    """The installed distributions that carry an import name, with their versions."""
    found = {name: version(name) for name in CARRIERS.get(package, (package,))}
    return {name: number for name, number in found.items() if number is not None}


def pinned(package: str) -> str:
    """What to give pip for an import name: the version that mmconvnext's extras name, of the stack
    that is installed here."""
    stack = "onedl" if carriers("mmengine").keys() & {"onedl-mmengine"} else "openmmlab"
    names = {*CARRIERS.get(package, (package,))}
    for line in _required("mmconvnext"):
        name, _, condition = line.partition(";")
        if distribution_of(name) in names and f"'{stack}'" in condition.replace('"', "'"):
            return re.sub(r"[\s()]", "", name)
    if stack == "onedl":
        return _FORK_NAMES.get(package, f"{FORK}{package}")
    return {"mmcv": "mmcv-lite", "mmseg": "mmsegmentation", "cv2": "opencv-python"}.get(
        package, package
    )


def limits(package: str, of: str) -> str:
    """The versions of the import name ``of`` that an installed ``package`` says it works with, such
    as ``<2.2.0,>=2.0.0rc4``; empty where its metadata say nothing."""
    for distribution in carriers(package):
        for line in _required(distribution):
            requirement, _, condition = line.partition(";")
            # mmdet and mmseg name what they need only to mim, their installer; the forks do alike.
            if "extra" in condition and not re.search("mim|mminstall", condition):
                continue
            name = distribution_of(requirement)
            if name in CARRIERS[of]:
                return re.sub(r"[\s()]", "", requirement)[len(name) :]
    return ""


def distribution_of(requirement: str) -> str:
    """The name that a requirement such as ``torch (>=2.1)`` begins with."""
    found = re.match(r"\s*([A-Za-z0-9._-]*[A-Za-z0-9])", requirement)
    return found.group(1).lower().replace("_", "-") if found else ""


def fits(number: str, within: str) -> bool:
    """Whether a version is within limits such as ``<2.2.0,>=2.0.0rc4``.

    Raises:
        ModuleNotFoundError: packaging, which compares them, is not installed.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    # Local parts (2.1.0+cu118) name a build, not another version.
    return SpecifierSet(within).contains(Version(number).public, prereleases=True)


def _required(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
