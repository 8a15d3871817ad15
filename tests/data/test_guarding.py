from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import Compose

from mmconvnext.data.checks import DataError
from mmconvnext.data.guarding import Guarded, guard


def passing(results):
    return results


def failing(results):
    raise ValueError("broken\nin two lines")


def running_out(results):
    raise MemoryError


def sample(values: list[int]):
    labels = SimpleNamespace(data=torch.tensor([values], dtype=torch.uint8))
    return {"data_samples": SimpleNamespace(gt_sem_seg=labels), "img_path": "a.jpg"}


def test_good_samples_pass_as_they_are():
    steps = Compose([passing])
    guarded = Guarded(steps)
    results = {"img_path": "a.jpg"}
    assert guarded(results) is results and guarded.transforms is steps.transforms
    assert pickle.loads(pickle.dumps(guarded))(results) == results


def test_errors_name_picture_id_and_mask_on_one_line():
    source = {"img_path": "a.jpg", "img_id": 7, "seg_map_path": "a.png"}
    with pytest.raises(DataError) as error:
        Guarded(failing)(source)
    assert str(error.value).startswith(
        "a.jpg (image id 7, mask a.png): ValueError: broken in two lines; correct or remove it"
    )
    assert isinstance(error.value.__cause__, ValueError)


def test_left_out_samples_are_noted_and_twenty_in_a_row_are_too_many(tmp_path):
    record = tmp_path / "bad.jsonl"
    guarded = Guarded(lambda results: failing(results) if results["bad"] else results, record)
    for _ in range(2):  # a good one in between: it starts anew
        for number in range(19):
            assert guarded({"img_path": f"{number}.jpg", "bad": True}) is None
        assert guarded({"img_path": "good.jpg", "bad": False})
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["picture"] for line in lines] == 2 * [f"{number}.jpg" for number in range(19)]
    assert lines[0]["line"] == "0.jpg: ValueError: broken in two lines"
    for _ in range(19):
        guarded({"img_path": "x.jpg", "bad": True})
    with pytest.raises(DataError, match=r"20 pictures in a row cannot be used, at last x\.jpg: "):
        guarded({"img_path": "x.jpg", "bad": True})


def test_what_is_not_the_datas_fault_is_not_skipped(tmp_path):
    with pytest.raises(MemoryError):
        Guarded(running_out, tmp_path / "bad.jsonl")({"img_path": "a.jpg"})


def test_steps_that_decline_a_sample_still_may(tmp_path):
    record = tmp_path / "bad.jsonl"
    assert Guarded(lambda results: None, record)({"img_path": "a.jpg"}) is None
    assert not record.exists()


def test_labels_are_those_of_classes():
    guarded = Guarded(passing, classes=3)
    assert guarded(sample([0, 2, 255]))
    with pytest.raises(DataError, match=r"a\.jpg: its mask labels class 3 .* has 3 classes"):
        guarded(sample([0, 3, 255]))
    assert Guarded(passing)(sample([0, 3]))  # detection: nothing is known of them


def test_all_data_sets_inside_wrappers_are_guarded_once():
    inner = [SimpleNamespace(pipeline=Compose([]), metainfo={}) for _ in range(3)]
    inner[2].reduce_zero_label, inner[2].metainfo = False, {"classes": ("a", "b")}
    mixed = SimpleNamespace(dataset=inner[1], pipeline=["its own steps"])
    wrapped = SimpleNamespace(datasets=[inner[0], mixed, SimpleNamespace(dataset=inner[2])])
    for _ in range(2):
        guard(wrapped, None)
    assert all(isinstance(part.pipeline, Guarded) for part in inner)
    assert not any(isinstance(part.pipeline.pipeline, Guarded) for part in inner)
    assert [part.pipeline.classes for part in inner] == [None, None, 2]
    assert mixed.pipeline == ["its own steps"]
