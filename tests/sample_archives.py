"""Tiny data sets under the official names, zip files of them, and a server that has its moods."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from mmconvnext.data.archives import Archive
from mmconvnext.data.coco_file import COCO_CLASSES

# The official ids leave ten numbers out; which ones does not matter here, that they differ does.
CATEGORIES = [{"id": 2 * n + 1, "name": name} for n, name in enumerate(COCO_CLASSES)]


def write_picture(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


def write_coco(root: Path, images: int = 3) -> Path:
    """COCO 2017 under its own names, of few images, each with one annotation."""
    for split in ("train2017", "val2017"):
        entries, annotations = [], []
        for number in range(1, images + 1):
            name = f"{number:012}.jpg"
            write_picture(root / split / name, seed=number)
            entries.append({"id": number, "file_name": name, "width": 40, "height": 30})
            annotations.append({"id": number, "image_id": number, "category_id": 1})
        content = {"images": entries, "annotations": annotations, "categories": CATEGORIES}
        file = root / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return root


def edit_coco(file: Path, **lists: list) -> None:
    """Replace lists of an annotation file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **lists}))


def write_ade(root: Path, images: int = 2) -> Path:
    """ADE20K under its own names, of few images."""
    for split, short in (("training", "train"), ("validation", "val")):
        for number in range(1, images + 1):
            stem = f"ADE_{short}_{number:08}"
            write_picture(root / "images" / split / f"{stem}.jpg", seed=number)
            mask = np.arange(1200, dtype=np.uint16).reshape(30, 40) % 151
            write_mask(root / "annotations" / split / f"{stem}.png", mask.astype(np.uint8))
    return root


def write_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def zipped(folder: Path, top: str) -> bytes:
    """A zip file of what lies in ``folder``, under the folder ``top``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for path in sorted(folder.rglob("*")):
            content.write(path, f"{top}/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()


def archive_of(name: str, data: bytes, url: str, folder: str, into: str) -> Archive:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    size = len(data)
    return Archive(name, f"{url}/{name}", size, size, size, digest, folder, into)


@dataclasses.dataclass
class Server:
    """What the server has, how it behaves, and what it was asked and sent.

    Args:
        files: content by path without the leading slash.
        ranges: whether it understands ranges.
        drops: after how many bytes it breaks off; one entry a request, then no more.
        status: answers everything with this, if not 200.
        shift: added to the first byte of a range that it is asked for.
        log: path, ``Range`` header and number of bytes sent, a request each.
    """

    url: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    ranges: bool = True
    drops: list[int] = dataclasses.field(default_factory=list)
    status: int = 200
    shift: int = 0
    log: list[tuple[str, str | None, int]] = dataclasses.field(default_factory=list)


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine, in a thread."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
    path, wanted = handler.path.lstrip("/"), handler.headers.get("Range")
    data = server.files.get(path)
    if data is None or server.status != 200:
        server.log.append((path, wanted, 0))
        handler.send_error(server.status if server.status != 200 else 404)
        return
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
    if start and start >= len(data):
        server.log.append((path, wanted, 0))
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(data)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    first = start + server.shift if start else 0
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - first))
    handler.end_headers()
    body = data[first:]
    if server.drops:
        body = body[: server.drops.pop(0)]
    server.log.append((path, wanted, len(body)))
    with suppress(ConnectionError):  # the client had enough
        handler.wfile.write(body)
