from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmconvnext.data import headers
from mmconvnext.data.headers import read_header, read_headers
from mmconvnext.data.photos import make_coco_photos


@pytest.fixture
def written(tmp_path):
    """Writes a file of the given bytes and returns its path."""

    def write(content: bytes, name: str = "a.jpg") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(values).convert(mode).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P", "1"])
def test_sound_pictures_have_the_size_that_opencv_finds(written, kind, mode):
    if (kind, mode) in [("JPEG", "RGBA"), ("JPEG", "P"), ("PNG", "CMYK"), ("BMP", "CMYK")]:
        mode = "RGB"
    if kind == "WEBP" and mode not in ("RGB", "RGBA"):
        mode = "RGB"
    content = encoded(kind, mode)
    header = read_header(written(content))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert header == headers.Header("", (60, 40)) and decoded.shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_wherever_a_file_is_cut_off_it_is_noticed(written, kind):
    content = encoded(kind)
    for share in (0.02, 0.1, 0.5, 0.9, 0.99):
        assert read_header(written(content[: int(len(content) * share)])).error


def test_what_opencv_4_fills_up_with_grey_is_cut_off_nevertheless(written, monkeypatch):
    grey = np.full((40, 60, 3), 128, np.uint8)
    monkeypatch.setattr(headers.cv2, "imdecode", lambda *_: grey)
    content = encoded("JPEG")
    assert read_header(written(content[: len(content) // 2])).error == (
        "is cut off: its end is not there"
    )


def test_what_cameras_write_behind_the_end_is_no_damage(written):
    for behind in (100, 10_000):  # the second is more than is looked at: it is decoded
        header = read_header(written(encoded("JPEG") + bytes(behind)))
        assert header == headers.Header("", (60, 40))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_is_what_opencv_turns(written, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded("JPEG", exif=exif)
    header = read_header(written(content))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert header.size == (60, 40) and header.shown == decoded.shape[1::-1]


def test_what_opencv_does_not_load_is_named(written, tmp_path):
    numbers = np.ones((4, 4))
    for kind in (np.float32, np.int32):
        Image.fromarray(numbers.astype(kind)).save(tmp_path / "a.tif")
        assert "OpenCV" in read_header(str(tmp_path / "a.tif")).error
    assert read_header(written(b"")).error == "is empty (0 bytes)"
    assert read_header(written(b"\x89PNG\r\n\x1a\n" + bytes(50))).error
    assert read_header(str(tmp_path / "no.jpg")).error.startswith("cannot be read: No such file")
    assert read_header(str(tmp_path)).error.startswith("cannot be read: Is a directory")


def test_large_pictures_are_looked_at_without_decoding(written, monkeypatch):
    content = encoded("PNG", "1", (20_000, 20_000))
    monkeypatch.setattr(headers, "_decoded", lambda file: pytest.fail("decoded"))
    assert Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < 20_000**2
    assert read_headers([written(content)])[0] == headers.Header("", (20_000, 20_000))
    wider = content[:16] + (1 << 21).to_bytes(4, "big") + content[20:]
    header = bytearray(wider)
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    assert "more than OpenCV loads" in read_headers([written(bytes(header))])[0].error


def test_many_are_read_in_order_and_told(tmp_path, monkeypatch):
    make_coco_photos(tmp_path, 5, (64, 96))
    monkeypatch.setattr(headers, "_AT_ONCE", 2)
    paths = sorted(map(str, (tmp_path / "train2017").iterdir()))
    (tmp_path / "train2017" / "000000000003.jpg").write_bytes(b"")
    told = []
    found = read_headers(paths, lambda done, total: told.append((done, total)))
    assert [bool(header.error) for header in found] == [False, False, False, True, False]
    assert {header.size for header in found if not header.error} == {(96, 64)}
    assert told == [(2, 5), (4, 5), (5, 5)]
