"""Every way by which mmengine, mmdet and mmseg read a checkpoint, once mmconvnext is imported."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from exploits import CODE, PLACES, WRITERS, Exploit, assert_refusal
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengines
from safetensors.torch import save_file
from torch import nn

import mmconvnext
from mmconvnext.checkpoints import trust
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.trust import VARIABLE

# PyTorch's safe unpickler stops before the first name, and there is no file to look into.
NOT_LOOKED_INTO = "a pickle of another protocol than torch.save's"
EVIL = ("zip", "old", "raw_2", "raw_4")  # kinds of files
CONFIGS = Path(__file__).parents[1] / "cli" / "configs"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The folder that an exploit makes."""
    trust._tell.cache_clear()
    return tmp_path / "ran"


@pytest.fixture(params=EVIL)
def evil(request, tmp_path, ran) -> Path:
    file = tmp_path / f"{request.param}.pth"
    WRITERS[request.param](PLACES["optimizer"](Exploit(ran)), file)
    return file


def error_of(function, *args, **kwargs) -> str:
    with pytest.raises(CheckpointError) as error:
        function(*args, **kwargs)
    return str(error.value)


def check(read, file: Path | str, ran: Path, monkeypatch, capfd, code: str = CODE) -> None:
    """``read`` refuses ``file``, and reads it where it is trusted, loudly."""
    assert_refusal(error_of(read), file, code)
    assert not ran.exists()
    capfd.readouterr()
    monkeypatch.setenv(VARIABLE, "1")
    try:
        read()
    except Exception as error:  # what runs the exploit need not be a whole checkpoint
        assert "refused" not in str(error)
    assert ran.exists()
    assert f"WARNING: checkpoint {file} is trusted" in capfd.readouterr().err


def runner(work_dir: Path) -> Runner:
    loader = {"batch_size": 1, "dataset": [0], "sampler": {"type": "DefaultSampler"}}
    return Runner(
        nn.Linear(1, 1),
        str(work_dir),
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        experiment_name=f"{work_dir}",
        log_level="ERROR",
    )


def test_load_checkpoint(evil, ran, monkeypatch, capfd):
    check(partial(load_checkpoint, nn.Linear(1, 1), str(evil)), evil, ran, monkeypatch, capfd)


@pytest.mark.parametrize("method", ["load_checkpoint", "resume"])
def test_runner(evil, ran, method, tmp_path, monkeypatch, capfd):
    read = partial(getattr(runner(tmp_path / "work"), method), str(evil))
    check(read, evil, ran, monkeypatch, capfd)


@pytest.mark.parametrize("prefix", [None, "backbone."])
def test_init_cfg_of_others(evil, ran, prefix, monkeypatch, capfd):
    from mmengine.model import BaseModule, PretrainedInit

    read = partial(PretrainedInit(str(evil), prefix), BaseModule())
    check(read, evil, ran, monkeypatch, capfd)


def test_init_detector(evil, ran, monkeypatch, capfd):
    from mmdet.apis import init_detector

    config = Config.fromfile(CONFIGS / "tiny_detection.py")
    read = partial(init_detector, config, str(evil), device="cpu")
    check(read, evil, ran, monkeypatch, capfd)


def test_init_model(evil, ran, monkeypatch, capfd):
    from mmseg.apis import init_model

    config = Config.fromfile(CONFIGS / "tiny_segmentation.py")
    read = partial(init_model, config, str(evil), device="cpu")
    check(read, evil, ran, monkeypatch, capfd)


def test_resuming_does_not_run_a_config_in_the_file(tmp_path, ran, monkeypatch, capfd):
    file = tmp_path / "x.pth"
    meta = {"epoch": 0, "iter": 0, "config": f"x = __import__('os').mkdir({str(ran)!r})"}
    torch.save({"state_dict": nn.Linear(1, 1).state_dict(), "meta": meta}, file)
    read = partial(runner(tmp_path / "work").resume, str(file))
    message = error_of(read)
    assert_refusal(message, file, "its config in meta.config has `x = __import__('os').mkdir(")
    assert not ran.exists()
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(KeyError, match="message_hub"):
        read()
    assert ran.exists()
    assert "its config in meta.config" in capfd.readouterr().err


def test_inferencers_do_not_run_a_config_in_the_file(tmp_path, ran):
    file = tmp_path / "x.pth"
    text = f"x = __import__('os').mkdir({str(ran)!r})"
    torch.save({"message_hub": {"runtime_info": {"cfg": text}}}, file)
    init = partial(BaseInferencer._init_model, None, Config(), str(file))
    assert_refusal(error_of(init), file, "message_hub.runtime_info.cfg")
    assert not ran.exists()


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Serves tmp_path; downloads go to tmp_path/cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_addresses(address, evil, ran, tmp_path, monkeypatch, capfd):
    read = partial(load_checkpoint, nn.Linear(1, 1), f"{address}/{evil.name}")
    assert_refusal(error_of(read), f"{address}/{evil.name}")
    cache = tmp_path / "cache" / "hub" / "checkpoints"
    assert [file.name for file in cache.iterdir()] == [f"{evil.name}.lock"]
    check(read, f"{address}/{evil.name}", ran, monkeypatch, capfd)


def test_downloads_in_the_cache_are_not_trusted(address, evil, ran, tmp_path):
    place = tmp_path / "cache" / "hub" / "checkpoints" / evil.name
    place.parent.mkdir(parents=True)
    evil.rename(place)
    assert_refusal(error_of(load_checkpoint, nn.Linear(1, 1), f"{address}/{evil.name}"), place)
    assert not ran.exists()


def test_names_that_stand_for_addresses(address, evil, ran, monkeypatch, capfd):
    known = {"x": f"{address}/{evil.name}"}
    for table in ("get_torchvision_models", "get_external_models", "get_mmcls_models"):
        monkeypatch.setattr(mmengines, table, lambda: known)
    for scheme in ("torchvision", "open-mmlab", "mmcls"):
        read = partial(load_checkpoint, nn.Linear(1, 1), f"{scheme}://x")
        assert_refusal(error_of(read), known["x"])
        assert not ran.exists()
    monkeypatch.setenv(VARIABLE, "1")
    with suppress(CheckpointError):  # a raw pickle is no checkpoint once its code has run
        load_checkpoint(nn.Linear(1, 1), "mmcls://x")
    assert ran.exists()
    assert f"checkpoint {known['x']} is trusted" in capfd.readouterr().err


@pytest.fixture
def own_scheme(tmp_path, monkeypatch):
    """A user's scheme that reads unsafely, as onedl-mmengine does after a refusal."""

    def load_from_mine(filename, map_location=None):
        file = tmp_path / filename.removeprefix("mine://")
        try:
            return torch.load(file, map_location=map_location, weights_only=True)
        except Exception:
            return torch.load(file, map_location=map_location, weights_only=False)

    monkeypatch.setattr(CheckpointLoader, "_schemes", CheckpointLoader._schemes.copy())
    CheckpointLoader.register_scheme("mine://", loader=load_from_mine)


@pytest.mark.parametrize("setting", [None, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_other_schemes(evil, ran, own_scheme, setting, monkeypatch, capfd):
    if setting:
        monkeypatch.setenv(setting, "1")
    name = f"mine://{evil.name}"
    read = partial(load_checkpoint, nn.Linear(1, 1), name)
    check(read, name, ran, monkeypatch, capfd, NOT_LOOKED_INTO if evil.stem == "raw_4" else CODE)
    assert os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD") is None
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == ("1" if setting else None)


def test_other_schemes_still_read_and_fail_as_before(tmp_path, own_scheme):
    torch.save(torch.ones(2), tmp_path / "a.pth")
    torch.testing.assert_close(CheckpointLoader.load_checkpoint("mine://a.pth"), torch.ones(2))
    with pytest.raises(FileNotFoundError):
        CheckpointLoader.load_checkpoint("mine://b.pth")
    torch.save({"meta": {"cfg": "import os"}}, tmp_path / "c.pth")
    message = error_of(CheckpointLoader.load_checkpoint, "mine://c.pth")
    assert_refusal(message, "mine://c.pth", "its config in meta.cfg has `import os`")


ONEDL = '''
from pickle import UnpicklingError

def _safe_torch_load(file, map_location=None, weights_only=None):
    """As onedl-mmengine 0.10.12: after a refusal, once more and unsafely."""
    try:
        with torch.serialization.safe_globals([getattr, HistoryBuffer]):
            return torch.load(file, map_location=map_location, weights_only=True)
    except UnpicklingError:
        return torch.load(file, map_location=map_location, weights_only=False)

@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename, map_location):
    return _safe_torch_load(filename, map_location=map_location)

@CheckpointLoader.register_scheme(prefixes='pavi://', force=True)
def load_from_pavi(filename, map_location=None):
    return _safe_torch_load(filename[7:], map_location=map_location)
'''


# Loads every file in one process; a line for each file that is refused.
LOADS = """
for file in files:
    try:
        m.load_checkpoint(torch.nn.Linear(1, 1), file)
    except mmconvnext.checkpoints.reading.CheckpointError as error:
        print(f"REFUSED {file} {error}")
    except Exception as error:  # what runs the exploit need not be a whole checkpoint
        print(f"FAILED {file} {type(error).__name__}")
"""


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("first", ["mmconvnext", "mmengine.runner"])
def test_onedl_mmengine_does_not_fall_back(tmp_path, trusted, first):
    """In a fresh process, with mmengine's module changed on disk as onedl's differs."""
    module = _changed_mmengine(tmp_path / "path")
    files = {
        f"{scheme}{file}": (ran, NOT_LOOKED_INTO if scheme and file.stem == "raw_4" else CODE)
        for scheme in ("", "pavi://")
        for file, ran in _evil_files(tmp_path / scheme.strip(":/"))
    }
    code = (
        f"import {first}, mmconvnext, torch, mmengine.runner.checkpoint as m\n"
        f"assert m.__file__ == {str(module)!r}, m.__file__\n"
        "before = set(map(str, torch.serialization.get_safe_globals()))\n"
        f"files = {list(files)!r}\n{LOADS}"
        "assert before == set(map(str, torch.serialization.get_safe_globals()))\n"
        "print('END')"
    )
    answer = _in_a_fresh_process(code, module.parents[2], trusted)
    lines = answer.stdout.splitlines()
    assert lines[-1] == "END", answer.stdout + answer.stderr
    for file, (ran, named) in files.items():
        assert ran.exists() == trusted, f"{file}\n{answer.stdout}{answer.stderr}"
        refusals = [line for line in lines if line.startswith(f"REFUSED {file} ")]
        if trusted:
            assert not any("refused" in line for line in refusals)
            assert f"checkpoint {file} is trusted" in answer.stderr
        else:
            (refusal,) = refusals
            assert_refusal(refusal, file, named)


def _changed_mmengine(folder: Path) -> Path:
    """Links in ``folder`` to mmengine's files, its ``runner/checkpoint.py`` made onedl's."""
    module = folder / "mmengine" / "runner" / "checkpoint.py"
    source = Path(mmengines.__file__)
    package = source.parents[1]
    module.parent.mkdir(parents=True)
    for entry in [*package.iterdir(), *source.parent.iterdir()]:
        if entry != source and entry != source.parent:
            (module.parents[1] / entry.relative_to(package)).symlink_to(entry)
    imports = "from mmengine.logging import HistoryBuffer\n"
    module.write_text(source.read_text() + imports + ONEDL)
    return module


def _evil_files(folder: Path) -> list[tuple[Path, Path]]:
    """A file of each kind of ``evil``, and the folder that reading it would make."""
    pairs = []
    for kind in EVIL:
        file, ran = folder / f"{kind}.pth", folder / f"ran_{kind}"
        file.parent.mkdir(exist_ok=True)
        WRITERS[kind](PLACES["optimizer"](Exploit(ran)), file)
        pairs.append((file, ran))
    return pairs


def _in_a_fresh_process(code: str, path: Path, trusted: bool) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths} | ({VARIABLE: "1"} if trusted else {}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_read_is_as_before(tmp_path):
    net = nn.Linear(2, 2)
    file = tmp_path / "x.pth"
    torch.save({"state_dict": net.state_dict(), "meta": {"epoch": 1}}, file)
    for name in (str(file), file):
        other = nn.Linear(2, 2)
        found = load_checkpoint(other, name, map_location=lambda storage, _: storage)
        assert found["meta"] == {"epoch": 1}
        torch.testing.assert_close(other.weight, net.weight)
    torch.save(torch.ones(3), file)
    torch.testing.assert_close(CheckpointLoader.load_checkpoint(str(file)), torch.ones(3))
    assert "checkpoint not found" in error_of(load_checkpoint, net, str(tmp_path / "y.pth"))


@pytest.mark.parametrize("map_location", [None, "cpu", torch.device("cpu"), lambda s, _: s])
def test_safetensors(tmp_path, map_location):
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    found = load_checkpoint(other, str(tmp_path / "x.safetensors"), map_location)
    torch.testing.assert_close(other.weight, net.weight)
    assert found.keys() == {"state_dict", "meta"}


def test_installing_and_importing_again_change_nothing_twice():
    finders = list(sys.meta_path)
    find = CheckpointLoader._get_checkpoint_loader
    importlib.reload(mmconvnext)
    assert sys.meta_path == finders
    assert CheckpointLoader._get_checkpoint_loader == find


def test_importing_mmengines_module_again_keeps_it_safe(tmp_path):
    files = dict(_evil_files(tmp_path))
    code = (
        "import importlib, mmengine.runner.checkpoint as m, mmconvnext, torch\n"
        f"importlib.reload(m)\nfiles = {list(map(str, files))!r}\n{LOADS}"
    )
    answer = _in_a_fresh_process(code, tmp_path, trusted=False)
    lines = answer.stdout.splitlines()
    for file, ran in files.items():
        refusals = [line for line in lines if line.startswith(f"REFUSED {file} ")]
        assert len(refusals) == 1, answer.stdout + answer.stderr
        assert_refusal(refusals[0], file)
        assert not ran.exists()
