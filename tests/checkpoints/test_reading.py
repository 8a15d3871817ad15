"""Reading checkpoint files, from disk and from addresses."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from email.message import Message
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from mmengine.runner import Runner
from sample_checkpoints import error_of

from mmconvnext.checkpoints.reading import read_checkpoint

ADDRESS = "https://example.invalid/weights/tiny.pth"


def test_missing_file_is_named(tmp_path):
    assert error_of(read_checkpoint, tmp_path / "x.pth") == (
        f"checkpoint not found: {tmp_path / 'x.pth'}"
    )
    assert "expected a file or an http(s) address" in error_of(read_checkpoint, "s3://a/b.pth")
    assert "Is a directory" in error_of(read_checkpoint, tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(save, zipped, share):
    file = save({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=zipped)
    os.truncate(file, int(Path(file).stat().st_size * share))
    error = error_of(read_checkpoint, file)
    assert error.startswith(f"checkpoint {file}: damaged or cut off, or no checkpoint (")


def test_other_files_are_refused(save, tmp_path):
    assert "expected a dict of weights, found list" in error_of(read_checkpoint, save([1, 2]))
    for name in ("page.pth", "page.safetensors"):
        (tmp_path / name).write_text("<html>404 not found</html>" * 20)
        assert "damaged or cut off" in error_of(read_checkpoint, str(tmp_path / name))


class Exploit:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [lambda x: x, lambda x: {"model": {}, "meta": {"cfg": [x]}}])
def test_code_in_a_file_does_not_run(save, tmp_path, place, zipped):
    content = place(Exploit(tmp_path / "ran"))
    file = save(content, _use_new_zipfile_serialization=zipped)
    error = error_of(read_checkpoint, file)
    assert not (tmp_path / "ran").exists()
    assert f"checkpoint {file}: refused, since reading it could run code: " in error
    assert "mkdir" in error


def test_code_in_a_plain_pickle_does_not_run(tmp_path):
    file = tmp_path / "weights.pkl"
    for protocol in (0, 2, 4):
        file.write_bytes(pickle.dumps(Exploit(tmp_path / "ran"), protocol))
        error_of(read_checkpoint, file)
        assert not (tmp_path / "ran").exists()


def test_unknown_class_is_named(save):
    assert f"it refers to {Runner.__module__}.Runner;" in error_of(
        read_checkpoint, save({"meta": Runner})
    )


class Response(BytesIO):
    def info(self) -> Message:
        return Message()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """What the address gives: bytes, or an error to raise. Counts the downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    state = {"count": 0}

    def urlopen(request):
        state["count"] += 1
        assert request.full_url == ADDRESS
        if isinstance(state["answer"], Exception):
            raise state["answer"]
        return Response(state["answer"])

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    return state


def cached(tmp_path) -> list[str]:
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_address_is_downloaded_once(served, tmp_path):
    buffer = BytesIO()
    torch.save({"a": torch.arange(3)}, buffer)
    served["answer"] = buffer.getvalue()
    for _ in range(2):
        torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.arange(3))
    assert served["count"] == 1
    assert cached(tmp_path) == ["tiny.pth"]


def test_interrupted_download_leaves_no_file(served, tmp_path):
    buffer = BytesIO()
    torch.save({"a": torch.arange(3000)}, buffer)
    served["answer"] = buffer.getvalue()[:5000]
    error = error_of(read_checkpoint, ADDRESS)
    assert error.startswith(f"checkpoint {ADDRESS}: damaged or cut off")
    assert cached(tmp_path) == []
    served["answer"] = buffer.getvalue()
    torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.arange(3000))


def test_without_network_the_error_says_where_to_put_the_file(served, tmp_path):
    served["answer"] = URLError("Name or service not known")
    place = tmp_path / "cache" / "hub" / "checkpoints" / "tiny.pth"
    assert error_of(read_checkpoint, ADDRESS) == (
        f"checkpoint {ADDRESS}: cannot be downloaded (<urlopen error Name or service not known>); "
        f"download it elsewhere and put it at {place}"
    )
    torch.save(OrderedDict(a=torch.ones(1)), place)
    torch.testing.assert_close(read_checkpoint(ADDRESS)["a"], torch.ones(1))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real server of the files in tmp_path/www, which can announce another size than it sends."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "www").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        surplus = 0

        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "www"))

        def send_header(self, name, value):
            if name == "Content-Length" and self.command == "HEAD":
                value = str(int(value) + self.surplus)
            super().send_header(name, value)

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield SimpleNamespace(
            address=f"http://127.0.0.1:{running.server_port}",
            folder=tmp_path / "www",
            handler=Handler,
        )
        running.shutdown()


def test_a_download_of_another_size_than_announced_is_refused(server, tmp_path):
    torch.save({"a": torch.ones(1)}, server.folder / "w.pth")
    server.handler.surplus = 7
    error = error_of(read_checkpoint, f"{server.address}/w.pth")
    assert "cut off: expected " in error and error.endswith("; try again")
    assert cached(tmp_path) == []
    server.handler.surplus = 0
    assert read_checkpoint(f"{server.address}/w.pth")["a"] == 1
    assert cached(tmp_path) == ["w.pth"]


def test_the_digest_in_a_files_name_is_checked(server, tmp_path):
    torch.save({"a": torch.ones(1)}, server.folder / "w.pth")
    content = (server.folder / "w.pth").read_bytes()
    right, wrong = f"w-{sha256(content).hexdigest()[:8]}.pth", "w-0123abcd.pth"
    for name in (right, wrong):
        (server.folder / name).write_bytes(content)
    assert read_checkpoint(f"{server.address}/{right}")["a"] == 1
    error = error_of(read_checkpoint, f"{server.address}/{wrong}")
    assert "invalid hash value" in error
    assert cached(tmp_path) == [right]
