from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmconvnext.hooks.plain_data import from_plain, pictures_in, tensors_in, to_plain


def through_a_file(value):
    """``value`` written, and read as PyTorch reads what may hold nothing but tensors."""
    file = io.BytesIO()
    torch.save(to_plain(value), file)
    file.seek(0)
    with torch.serialization.safe_globals([]):
        return from_plain(torch.load(file, weights_only=True))


def detection() -> DetDataSample:
    masks = np.zeros((2, 8, 9), np.uint8)
    masks[1, 2:4] = 1
    sample = DetDataSample(
        metainfo={
            "img_path": "a.jpg",
            "img_id": 7,
            "img_shape": (8, 9),
            "scale_factor": np.array([0.5, 0.25], np.float32),
            "flip": False,
            "flip_direction": None,
        }
    )
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor([[0.0, 1, 2, 3], [1, 2, 3, 4]])),
        labels=torch.tensor([1, 2]),
        masks=BitmapMasks(masks, 8, 9),
    )
    sample.ignored_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.zeros(0, 4)),
        masks=PolygonMasks([], 8, 9),
    )
    return sample


def test_a_detectors_sample_comes_back_as_it_was():
    sample = detection()
    batch = {"inputs": [torch.arange(6, dtype=torch.uint8)], "data_samples": [sample]}
    read = through_a_file(batch)
    assert torch.equal(read["inputs"][0], batch["inputs"][0])
    assert read["inputs"][0].dtype == torch.uint8
    (found,) = read["data_samples"]
    assert type(found) is DetDataSample
    assert found.metainfo.keys() == sample.metainfo.keys()
    assert found.img_shape == (8, 9) and found.img_id == 7 and found.flip_direction is None
    assert np.array_equal(found.scale_factor, sample.scale_factor)
    assert found.scale_factor.dtype == np.float32
    ones, others = found.gt_instances, sample.gt_instances
    assert type(ones) is InstanceData and set(ones.keys()) == set(others.keys())
    assert type(ones.bboxes) is HorizontalBoxes
    assert torch.equal(ones.bboxes.tensor, others.bboxes.tensor)
    assert torch.equal(ones.labels, others.labels)
    assert np.array_equal(ones.masks.to_ndarray(), others.masks.to_ndarray())
    assert len(found.ignored_instances) == 0
    assert isinstance(found.ignored_instances.masks, PolygonMasks)
    # It works, too: the boxes can be moved and cut like any.
    assert len(ones[ones.labels == 2]) == 1


def test_polygons_come_back():
    polygons = [[np.array([0.0, 0, 4, 0, 4, 4])], [np.array([1.0, 1, 2, 1, 2, 2])]]
    read = through_a_file(PolygonMasks(polygons, 8, 9))
    assert np.array_equal(read.to_ndarray(), PolygonMasks(polygons, 8, 9).to_ndarray())


def test_a_segmentors_sample_comes_back_as_it_was():
    sample = SegDataSample(metainfo={"img_path": "b.png", "reduce_zero_label": True})
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 5, 6)))
    read = through_a_file(sample)
    assert type(read) is SegDataSample and read.reduce_zero_label is True
    assert torch.equal(read.gt_sem_seg.data, sample.gt_sem_seg.data)
    assert read.gt_sem_seg.shape == (5, 6)


@pytest.mark.parametrize("value", [1, 0.5, "a", None, True, (1, [2, {"a": (3,)}])])
def test_plain_values_stay(value):
    assert through_a_file(value) == value


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.bool_(True), np.float64(2)])
def test_numpys_numbers_become_pythons(value):
    assert through_a_file(value) == value.item()
    assert type(to_plain(value)) is type(value.item())


def test_what_could_not_be_made_again_is_refused():
    class Own(BaseDataElement):
        pass

    for value in (Own(), {1, 2}, object()):
        with pytest.raises(TypeError, match="cannot be kept"):
            to_plain([value])


@pytest.mark.parametrize(
    "name",
    ["os.system", "mmdet.apis.init_detector", "mmengine.structures_of_mine.X", "system"],
)
def test_a_file_cannot_name_what_is_made_of_it(name):
    with pytest.raises(TypeError, match="is not made"):
        from_plain({"__class__": name, "fields": {}, "metainfo": {}})


def test_a_file_cannot_name_functions():
    with pytest.raises(TypeError, match="is no class"):
        from_plain({"__class__": "mmdet.structures.bbox.bbox_overlaps", "fields": {}})


def test_tensors_are_found_with_their_paths():
    paths = dict(tensors_in(to_plain({"inputs": [torch.ones(2)], "data_samples": [detection()]})))
    assert {
        "inputs[0]",
        "data_samples[0].gt_instances.bboxes.tensor",
        "data_samples[0].gt_instances.labels",
        "data_samples[0].gt_instances.masks.masks",
    } <= paths.keys()


def test_pictures_are_named_by_path_or_else_by_id():
    with_id = DetDataSample(metainfo={"img_id": 7})
    batch = {"sup": [detection(), with_id], "other": (SegDataSample(),)}
    assert pictures_in({"data_samples": batch, "inputs": torch.ones(3)}) == ["a.jpg", "7"]
