"""Resuming through mmengine alone, with PyTorch's safe loading left on."""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.utils import digit_version
from torch.utils.data import Dataset

from mmconvnext.compat import torch_load

pytestmark = pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version("2.6.0"), reason="loading was not safe before"
)
torch_load.install()


class Numbers(Dataset):
    metainfo = ConfigDict(classes=("a", "b"), parts=dict(a=1, b=dict(c=2)), sigmas=np.arange(2.0))

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        return {"x": torch.full((3,), index / 8), "y": torch.tensor(index / 8)}


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(3, 1)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x, y, mode):
        x, y = torch.stack(x), torch.stack(y)
        out = self.line(self.norm(x)).squeeze(1)
        return {"loss": ((out - y) ** 2).mean()} if mode == "loss" else [out]


class Score(BaseMetric):
    default_prefix = "own"

    def process(self, data_batch, data_samples) -> None:
        self.results.append(1.0)

    def compute_metrics(self, results) -> dict:
        return {
            "score": np.float64(0.5),
            "other": np.float32(0.25),
            "count": np.int64(len(results)),
        }


def runner(work_dir, epochs: int, resume: bool) -> Runner:
    loader = {"batch_size": 4, "dataset": Numbers()}
    schedulers = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 2},
        {"type": "MultiStepLR", "milestones": [1]},
        {"type": "CosineAnnealingLR", "T_max": 3},
        {"type": "PolyLR", "end": 3},
        {"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 10},
        {"type": "ReduceOnPlateauLR", "monitor": "own/score"},
    ]
    checkpoints = {"type": "CheckpointHook", "interval": 1, "save_best": "own/score"}
    return Runner(
        Line(),
        str(work_dir),
        train_dataloader=loader | {"sampler": {"type": "DefaultSampler", "shuffle": True}},
        val_dataloader=loader | {"sampler": {"type": "DefaultSampler", "shuffle": False}},
        val_evaluator=[Score()],
        val_cfg={},
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        param_scheduler=schedulers,
        custom_hooks=[{"type": "EMAHook"}],
        default_hooks={"checkpoint": checkpoints | {"rule": "greater"}},
        resume=resume,
        experiment_name=f"{work_dir.name}_{epochs}",
        log_level="ERROR",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    """Two epochs, and their last checkpoint."""
    work_dir = tmp_path_factory.mktemp("resume")
    first = runner(work_dir, 2, resume=False)
    first.train()
    return {"runner": first, "work_dir": work_dir, "file": work_dir / "epoch_2.pth"}


def test_mmengines_checkpoint_is_read_whole(trained):
    found = torch.load(trained["file"], weights_only=True)
    told = torch.load(trained["file"], weights_only=False)
    assert found.keys() == told.keys() >= {"optimizer", "message_hub", "ema_state_dict"}
    assert found["meta"]["epoch"] == 2
    assert found["meta"]["dataset_meta"]["parts"] == {"a": 1, "b": {"c": 2}}
    np.testing.assert_array_equal(found["meta"]["dataset_meta"]["sigmas"], [0.0, 1.0])
    losses = found["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(losses, HistoryBuffer)
    assert losses.mean() == np.mean(told["message_hub"]["log_scalars"]["train/loss"].data[0])
    assert found["message_hub"]["runtime_info"]["best_score"] == 0.5


def test_training_resumes(trained):
    second = runner(trained["work_dir"], 3, resume=True)
    second.call_hook("before_run")
    second.load_or_resume()
    assert (second.epoch, second.iter) == (2, 4)
    for key, value in trained["runner"].model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[key], value)
    second.train()  # resumes by itself, once
    assert (second.epoch, second.iter) == (3, 6)
    assert (trained["work_dir"] / "epoch_3.pth").is_file()
    losses = second.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 6


class Exploit:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


class Attribute:
    """``getattr(owner, name)``, then called."""

    def __init__(self, owner, name, *args):
        self.what = owner, name
        self.args = args

    def __reduce__(self):
        return (Got(*self.what), self.args) if self.args else (getattr, self.what)


class Got:
    def __init__(self, *what):
        self.what = what

    def __call__(self):
        raise AssertionError

    def __reduce__(self):
        return getattr, self.what


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["top", "optimizer", "meta"])
def test_code_is_still_refused(trained, tmp_path, place, zipped):
    content = torch.load(trained["file"], weights_only=True)
    content[place] = Exploit(tmp_path / "ran")
    file = tmp_path / "bad.pth"
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        torch.load(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (HistoryBuffer, "__init__"),
        (HistoryBuffer, "register_statistics"),
        (HistoryBuffer, "__subclasses__"),
        (OrderedDict, "fromkeys"),
        (np.ndarray, "tofile"),
    ],
)
def test_other_attributes_are_refused(tmp_path, owner, name):
    file = tmp_path / "bad.pth"
    torch.save({"x": Attribute(owner, name)}, file)
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.getattr"):
        torch.load(file, weights_only=True)


def test_a_method_cannot_be_called_by_a_file(tmp_path):
    file = tmp_path / "bad.pth"
    torch.save({"x": Attribute(HistoryBuffer, "mean", HistoryBuffer([1.0], [1]))}, file)
    with pytest.raises(pickle.UnpicklingError, match="unrecognized function"):
        torch.load(file, weights_only=True)


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_numpy_objects_of_both_generations_are_read(tmp_path, core):
    """NumPy 1 wrote ``numpy.core``, NumPy 2 writes ``numpy._core``."""
    torch.save({"a": np.arange(3.0), "b": np.float32(0.5)}, tmp_path / "saved.pth")
    with ZipFile(tmp_path / "saved.pth") as saved, ZipFile(tmp_path / "x.pth", "w") as renamed:
        for name in saved.namelist():
            renamed.writestr(name, re.sub(rb"numpy\._?core\.", core, saved.read(name)))
    found = torch.load(tmp_path / "x.pth", weights_only=True)
    np.testing.assert_array_equal(found["a"], [0.0, 1.0, 2.0])
    assert found["b"] == np.float32(0.5)


def test_nothing_is_added_on_older_pytorch(monkeypatch):
    def refuse(_):
        raise AssertionError

    monkeypatch.setattr("torch.serialization.add_safe_globals", refuse)
    monkeypatch.setattr("torch.__version__", "2.5.1+cpu")
    torch_load.install()
