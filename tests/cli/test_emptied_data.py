"""Data sets of which the filters leave nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mmconvnext.cli.datasets import telling_of_emptied_data
from mmconvnext.cli.main import main


def test_training_on_nothing_is_refused_in_a_line(tiny_config, shapes, tmp_path, capsys):
    config = tiny_config(
        "detection", '_base_.train_dataloader.dataset.dataset["filter_cfg"] = dict(min_size=1000)'
    )
    where = ["--data-root", str(shapes["detection"]), "--work-dir", str(tmp_path / "work")]
    assert main(["train", str(config), *where, "--device", "cpu"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mmconvnext")]
    assert line.startswith(
        f"mmconvnext train: no picture of {shapes['detection']}/annotations/instances_train.json "
        "is left by the data set's filters: filter_cfg={'min_size': 1000}, classes circle, "
        "square, triangle;"
    )


def test_other_errors_of_this_kind_pass():
    with pytest.raises(ValueError, match="at least one array"), telling_of_emptied_data():
        np.concatenate([])
