"""Pictures as users have them, brought into the form that a test pipeline starts from."""

from __future__ import annotations

import copy
import io
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

PictureLike: TypeAlias = "str | os.PathLike[str] | bytes | np.ndarray | Image.Image"
ChannelOrder = Literal["rgb", "bgr"]


class PictureError(ValueError):
    """A picture that cannot be read; the message is one line."""


class PictureReader:
    """A config's test pipeline for single pictures; one reader serves many threads.

    Transforms may keep something between two steps, so that each thread has a copy of its own.

    Args:
        pipeline: the config's; steps that load annotations are left out.
        package: "mmdet" or "mmseg", whose own step takes pictures that are loaded already.
        scope: of the config's transforms.
        channel_order: of arrays.

    Raises:
        ValueError: the first step does not load a picture.
    """

    def __init__(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        package: str,
        scope: str,
        channel_order: ChannelOrder = "rgb",
    ) -> None:
        steps = [step for step in pipeline if not step_name(step).startswith("LoadAnnotations")]
        first = step_name(steps[0]) if steps else "nothing"
        if not first.startswith("Load"):
            raise ValueError(
                f"test pipeline: expected a first step that loads a picture, found {first}"
            )
        from_array = {
            "type": f"{package}.LoadImageFromNDArray",
            "to_float32": steps[0].get("to_float32", False),
        }
        with TRANSFORMS.switch_scope_and_registry(scope) as registry:
            self._steps = [registry.build(dict(step)) for step in (*steps, from_array)]
        self._of_thread = threading.local()
        self._order = channel_order

    def read(self, picture: PictureLike) -> tuple[np.ndarray, dict[str, Any]]:
        """Read and prepare a picture.

        Args:
            picture: a file, or the bytes of one, which give the same; or a uint8 array (H, W, 3) or
                (H, W), or a PIL image.

        Returns:
            The picture, (H, W, 3) BGR as the pipeline's first step loads it, and what the pipeline
            makes of it for the network.

        Raises:
            PictureError: a file that is not there, is no picture, or ends too early; or a picture
                that one of the pipeline's steps fails on.
            TypeError, ValueError: something else than the above.
        """
        *rest, from_array = self._own_steps()
        from_file = rest.pop(0)
        name = "picture"
        if isinstance(picture, (str, os.PathLike)):
            name = f"picture {os.fspath(picture)}"
            loaded = _load(from_file, os.fspath(picture))
        elif isinstance(picture, bytes):
            name = f"picture of {len(picture):,} bytes"
            loaded = _load_bytes(from_file, from_array, picture)
        else:
            loaded = from_array({"img": _as_bgr(picture, self._order), "img_id": 0})
        pixels = loaded["img"]
        for step in rest:
            try:
                loaded = step(loaded)
            except Exception as error:  # a width of 0 after resizing, say
                kind = type(step).__name__
                raise PictureError(
                    f"{name} of {pixels.shape[1]}x{pixels.shape[0]} pixels: the pipeline's {kind} "
                    f"fails: {_reason(error)}"
                ) from error
        return pixels, loaded

    def _own_steps(self) -> list[Callable[[Any], Any]]:
        if not hasattr(self._of_thread, "steps"):
            self._of_thread.steps = copy.deepcopy(self._steps)
        steps: list[Callable[[Any], Any]] = self._of_thread.steps
        return steps


def step_name(step: Mapping[str, Any]) -> str:
    """The class of a pipeline's step, without its package."""
    kind = step.get("type")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _load(step: Callable[[Any], Any], path: str) -> Any:
    try:
        _check_whole(path)
        loaded = step({"img_path": path, "img_id": 0})
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        raise PictureError(f"picture {path} cannot be read: {_reason(error)}") from error
    if loaded is None:
        raise PictureError(f"picture {path} cannot be read: the pipeline's first step gave nothing")
    return loaded


def _load_bytes(step: Any, from_array: Callable[[Any], Any], content: bytes) -> Any:
    """What ``_load`` gives for a file of ``content``."""
    from mmcv.image import imfrombytes
    from mmcv.transforms import LoadImageFromFile

    if getattr(type(step), "transform", None) is not LoadImageFromFile.transform:
        # A step of the user's own: it takes files, whatever it does with them.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture")
            path.write_bytes(content)
            return _load(step, str(path))
    try:
        _check_whole(content)
        pixels = imfrombytes(content, flag=step.color_type, backend=step.imdecode_backend)
        if pixels is None:
            raise ValueError("the decoder knows no such format")
        return from_array({"img": pixels, "img_id": 0})
    except Exception as error:
        raise PictureError(
            f"picture of {len(content):,} bytes cannot be read: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def _check_whole(picture: str | bytes) -> None:
    """Raise if a file, or its bytes, end too early: OpenCV 4 fills the rest with grey and says
    nothing."""
    if isinstance(picture, str) and not Path(picture).exists() and "://" in picture:
        return  # somewhere else: left to mmengine
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            image.load()
    except UnidentifiedImageError:
        if not (len(picture) if isinstance(picture, bytes) else Path(picture).stat().st_size):
            raise ValueError("the file is empty") from None
        # Perhaps a format that OpenCV alone knows.


def _as_bgr(picture: Any, order: ChannelOrder) -> np.ndarray:
    if isinstance(picture, Image.Image):
        return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            "picture: expected a path, bytes, a NumPy array or a PIL image, found "
            f"{type(picture).__name__}"
        )
    grey = picture.ndim == 2
    if picture.dtype != np.uint8 or not picture.size or not (grey or picture.shape[2:] == (3,)):
        raise ValueError(
            "picture: expected a uint8 array (H, W, 3) or (H, W), found "
            f"{picture.dtype} {picture.shape}"
        )
    if grey:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return np.ascontiguousarray(picture[..., ::-1] if order == "rgb" else picture)
