"""Runs an exported model on a picture: NumPy and ONNX Runtime are all it needs. Copy it as it is.

python runner.py MODEL.onnx PICTURE.npy        a uint8 array (height, width, 3), RGB
"""

import json
import sys
from typing import Any

import numpy as np


def load(path: str) -> tuple[Any, dict[str, Any]]:
    """The model in ``path`` (a session), and what its metadata say."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    texts = session.get_modelmeta().custom_metadata_map
    return session, {name: json.loads(text) for name, text in texts.items()}


def run(session: Any, picture: np.ndarray) -> dict[str, np.ndarray]:
    """What the model finds in ``picture``: its outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": picture[None]}), strict=True))


def paste(cells: np.ndarray, box: Any, size: tuple[int, ...], threshold: float) -> np.ndarray:
    """A box's probabilities (rows, columns), interpolated, as a mask of a picture of ``size``."""
    weights = []
    for axis, length in enumerate(size):
        low, high = box[1 - axis], box[3 - axis]  # boxes are left, top, right, bottom
        places = (np.arange(length) + 0.5 - low) / max(high - low, 1e-6) * cells.shape[axis] - 0.5
        distance = np.abs(places[:, None] - np.arange(cells.shape[axis]))
        weights.append(np.maximum(1 - distance, 0).astype(cells.dtype))
    return np.asarray(weights[0] @ cells @ weights[1].T >= threshold)


def main(model: str, file: str) -> None:
    """Print what is in a picture."""
    session, about = load(model)
    picture = np.load(file)
    found = run(session, picture)
    if about["task"] == "segmentation":
        for label, count in zip(*np.unique(found["classes"], return_counts=True), strict=True):
            print(f"{about['classes'][label]}: {count / found['classes'].size:.1%}")
        return
    for number, label in enumerate(found["labels"]):
        line = f"{about['classes'][label]} {found['scores'][number]:.3f}"
        line += f" at {np.round(found['boxes'][number], 1).tolist()}"
        if "masks" in found:
            cells, box = found["masks"][number], found["boxes"][number]
            mask = paste(cells, box, picture.shape[:2], about["mask_threshold"])
            line += f", {mask.sum()} pixels"
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
