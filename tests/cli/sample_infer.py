"""`mmconvnext infer` on small made-up pictures, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from mmconvnext.cli.main import main

# The pictures of the fixture ``photos``.

ALL = ["a/1.jpg", "a/2.jpg", "a/2.png", "b/1.jpg", "b/c/1.jpg"]


def infer(models, task, *args) -> int:
    threshold = ["--score-threshold", "0"] if "--score-threshold" not in args else []
    return main(["infer", *models[task], *map(str, args), "--device", "cpu", *threshold])


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def names_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def write_video(path: Path, frames: int) -> list[np.ndarray]:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    assert writer.isOpened()
    for value in range(frames):
        writer.write(np.full((48, 64, 3), 20 * value, np.uint8))
    writer.release()
