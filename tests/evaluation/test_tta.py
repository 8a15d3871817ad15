"""What is merged from several views, against plain references written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F

import mmconvnext  # noqa: F401
from mmconvnext.compat.mm_packages import config_root
from mmconvnext.evaluation.tta import InstanceTTAModel, SemanticTTAModel

mmdet_structures = pytest.importorskip("mmdet.structures")
mmseg_structures = pytest.importorskip("mmseg.structures")

HEIGHT, WIDTH = 6, 9
FLIPS = {
    None: lambda x, y: (x, y),
    "horizontal": lambda x, y: (WIDTH - x, y),
    "vertical": lambda x, y: (x, HEIGHT - y),
    "diagonal": lambda x, y: (WIDTH - x, HEIGHT - y),
}
AXES = {None: (), "horizontal": (2,), "vertical": (1,), "diagonal": (1, 2)}


class Scripted(nn.Module):
    """Stands for a model: answers each view with what the test says, and keeps what it was told."""

    def __init__(self, answers: list[list[dict[str, Any]]], threshold: float = 0.5) -> None:
        super().__init__()
        self.answers, self.told = iter(answers), []
        self.test_cfg: Any = None
        self.decode_head = nn.Module()
        self.decode_head.threshold = threshold

    def test_step(self, data: dict[str, Any]) -> list[Any]:
        self.told.append([dict(sample.metainfo) for sample in data["data_samples"]])
        samples = [sample.new() for sample in data["data_samples"]]
        for sample, fields in zip(samples, next(self.answers), strict=True):
            for name, value in fields.items():
                setattr(sample, name, value)
        return samples


def batch(flips: list[str | None], kind: type, pictures: int = 1) -> dict[str, list]:
    """Views, flipped so, of some pictures."""
    samples = [
        [
            kind(
                metainfo=dict(
                    ori_shape=(HEIGHT, WIDTH), flip=flip is not None, flip_direction=flip, number=n
                )
            )
            for n in range(pictures)
        ]
        for flip in flips
    ]
    return dict(inputs=[[torch.zeros(3, 4, 4)] * pictures for _ in flips], data_samples=samples)


def found(boxes: Any, scores: Any, labels: Any, masks: Any = None) -> dict[str, InstanceData]:
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    if masks is not None:
        instances.masks = torch.as_tensor(masks)
    return dict(pred_instances=instances)


def mask_of(box: list[float]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = map(int, box)
    mask[y1:y2, x1:x2] = True
    mask[y1, x1] = False  # so that no flip of it equals it
    return mask


@pytest.mark.parametrize("flip", list(FLIPS), ids=str)
def test_flips_of_boxes_and_masks_are_undone_exactly(flip: str | None) -> None:
    boxes = [[1.0, 0.0, 4.0, 3.0], [5.0, 2.0, 9.0, 6.0]]
    masks = np.stack([mask_of(box) for box in boxes])
    corners = [(FLIPS[flip](x1, y1), FLIPS[flip](x2, y2)) for x1, y1, x2, y2 in boxes]
    seen = [
        [min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])] for a, b in corners
    ]
    answer = found(seen, [0.75, 0.5], [3, 1], np.flip(masks, AXES[flip]).copy())
    module = Scripted([[answer]])
    (merged,) = InstanceTTAModel(module).test_step(batch([flip], mmdet_structures.DetDataSample))
    instances = merged.pred_instances
    assert instances.bboxes.tolist() == boxes
    assert instances.labels.tolist() == [3, 1] and instances.labels.dtype == torch.int64
    assert instances.scores.tolist() == [0.75, 0.5]
    assert instances.masks.dtype == torch.bool
    assert np.array_equal(instances.masks.numpy(), masks)
    # To the model no view is flipped, and neither is the merged result.
    assert [told["flip"] for told in module.told[0]] == [False]
    assert (merged.flip, merged.flip_direction) == (False, None)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area


def reference_merge(
    candidates: list[tuple], threshold: float, limit: int
) -> list[tuple[list[float], float, int, np.ndarray]]:
    """Greedy NMS and the vote on masks, one candidate (box, score, label, mask) after another."""
    kept: list[tuple] = []
    for candidate in sorted(candidates, key=lambda c: -c[1]):
        if all(k[2] != candidate[2] or overlap(k[0], candidate[0]) <= threshold for k in kept):
            kept.append(candidate)
    result = []
    for box, score, label, _ in kept[:limit]:
        voters = [c for c in candidates if c[2] == label and overlap(c[0], box) > threshold]
        share = sum(c[1] * c[3].astype(np.float64) for c in voters)
        result.append((box, score, label, share > sum(c[1] for c in voters) / 2))
    return result


@pytest.mark.parametrize(("threshold", "limit"), [(0.5, 100), (0.3, 4)])
def test_views_are_merged_by_classwise_nms_and_their_masks_by_vote(threshold, limit) -> None:
    random = np.random.default_rng(0)
    places = [[0.0, 0.0, 4.0, 3.0], [3.0, 1.0, 8.0, 6.0], [0.5, 2.5, 5.0, 6.0]]
    views, candidates = [], []
    for _ in range(5):
        boxes, scores, labels, masks = [], [], [], []
        for place in places:
            for label in (0, 1):
                box = (np.array(place) + random.uniform(-0.4, 0.4, 4)).astype(np.float32).tolist()
                boxes.append(box)
                scores.append(float(np.float32(random.uniform(0.1, 1))))
                labels.append(label)
                masks.append(random.random((HEIGHT, WIDTH)) < 0.6)
        candidates += zip(boxes, scores, labels, masks, strict=True)
        views.append([found(boxes, scores, labels, np.stack(masks))])
    model = InstanceTTAModel(
        Scripted(views), dict(nms=dict(type="nms", iou_threshold=threshold), max_per_img=limit)
    )
    (merged,) = model.test_step(batch([None] * 5, mmdet_structures.DetDataSample))
    expected = reference_merge(candidates, threshold, limit)
    assert 4 <= len(expected) < len(candidates)
    instances = merged.pred_instances
    assert instances.bboxes.tolist() == [e[0] for e in expected]
    assert instances.scores.tolist() == [e[1] for e in expected]
    assert instances.labels.tolist() == [e[2] for e in expected]
    assert np.array_equal(instances.masks.numpy(), np.stack([e[3] for e in expected]))
    own = {c[1]: c[3] for c in candidates}
    assert any(not np.array_equal(own[e[1]], e[3]) for e in expected)  # the vote changes something


def test_each_picture_of_a_batch_keeps_its_own_views() -> None:
    first, second = [0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 9.0, 6.0]
    answers = [
        [found([first], [0.9], [0]), found([second], [0.8], [1])],
        [found([first], [0.7], [2]), found([], [], [])],
    ]
    data = batch([None, None], mmdet_structures.DetDataSample, pictures=2)
    one, two = InstanceTTAModel(Scripted(answers)).test_step(data)
    assert (one.number, two.number) == (0, 1)
    assert one.pred_instances.labels.tolist() == [0, 2]
    assert two.pred_instances.bboxes.tolist() == [second]
    assert "masks" not in two.pred_instances


def test_views_in_which_nothing_is_found() -> None:
    no_masks = np.zeros((0, HEIGHT, WIDTH), bool)
    box = [1.0, 1.0, 3.0, 3.0]
    empty, one = found([], [], [], no_masks), found([box], [0.5], [7], mask_of(box)[None])
    data = batch([None, "horizontal"], mmdet_structures.DetDataSample)
    (merged,) = InstanceTTAModel(Scripted([[one], [empty]])).test_step(data)
    assert merged.pred_instances.labels.tolist() == [7]
    (merged,) = InstanceTTAModel(Scripted([[empty], [empty]])).test_step(data)
    assert len(merged.pred_instances) == 0
    assert merged.pred_instances.masks.shape == (0, HEIGHT, WIDTH)
    assert merged.pred_instances.labels.dtype == torch.int64


def test_soft_masks_are_averaged_by_score() -> None:
    box = [0.0, 0.0, 9.0, 6.0]
    masks = [np.full((1, HEIGHT, WIDTH), value, np.uint8) for value in (200, 100)]
    answers = [[found([box], [s], [0], m)] for s, m in zip((0.75, 0.25), masks, strict=True)]
    data = batch([None, None], mmdet_structures.DetDataSample)
    (merged,) = InstanceTTAModel(Scripted(answers)).test_step(data)
    assert merged.pred_instances.masks.dtype == torch.uint8
    assert (merged.pred_instances.masks == 175).all()


def test_models_that_predict_something_else_are_named_in_one_line() -> None:
    panoptic = dict(pred_panoptic_seg=PixelData(sem_seg=torch.zeros(1, 2, 2)))
    model = InstanceTTAModel(Scripted([[panoptic]]))
    with pytest.raises(TypeError, match="no pred_instances but pred_panoptic_seg"):
        model.test_step(batch([None], mmdet_structures.DetDataSample))
    depth = dict(pred_depth_map=PixelData(data=torch.zeros(1, 2, 2)))
    with pytest.raises(TypeError, match="no seg_logits but pred_depth_map"):
        SemanticTTAModel(Scripted([[depth]])).test_step(
            batch([None], mmseg_structures.SegDataSample)
        )


def picture(folder: Path) -> tuple[Path, Path]:
    """A picture of 40x56 pixels without symmetry, and a map of labels 0 to 4."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "a.png"), cv2.resize(coarse, (56, 40), interpolation=cv2.INTER_LINEAR))
    cv2.imwrite(str(folder / "map.png"), random.integers(0, 5, (40, 56), dtype=np.uint8))
    return folder / "a.png", folder / "map.png"


def build(name: str | Path, **changes: Any) -> nn.Module:
    cfg = Config.fromfile(name)
    cfg.merge_from_dict(changes)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    for node in (cfg.model.get("decode_head"), cfg.model.get("auxiliary_head")):
        if node is not None:
            node.norm_cfg = dict(type="BN")
    if "neck" in cfg.model:
        cfg.model.neck.pop("norm_cfg", None)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():  # no layer scale of 1e-6, no zero biases
        if parameter.dim() < 2:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()


SEGMENTOR = Path(__file__).parents[1] / "cli" / "configs" / "tiny_segmentation.py"


def reference_probabilities(model: nn.Module, image: np.ndarray, sizes: list) -> Tensor:
    """The average over sizes (height, width) and both horizontal orientations, by hand."""
    mean = np.array([123.675, 116.28, 103.53], np.float32)
    std = np.array([58.395, 57.12, 57.375], np.float32)
    total, count = torch.zeros(4, *image.shape[:2]), 0
    for height, width in sizes:
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        for mirrored in (False, True):
            view = resized[:, ::-1] if mirrored else resized
            view = (view[..., ::-1].astype(np.float32) - mean) / std
            logits = model.decode_head(
                model.extract_feat(torch.from_numpy(view.transpose(2, 0, 1).copy())[None])
            )
            logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
            if mirrored:
                logits = logits.flip(3)
            logits = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
            total += logits[0].softmax(0)
            count += 1
    return total / count


def segmentation_views(image: Path, labels: Path) -> dict[str, list]:
    """The views of the recipes' own tta_pipeline, at sizes for a small picture."""
    name = config_root() / "segmentation" / "upernet_convnext_t_ade20k_512.py"
    steps = Config.fromfile(name).tta_pipeline
    steps[1]["transforms"][0] = [
        dict(type="Resize", scale=scale, keep_ratio=True) for scale in ((999, 32), (999, 64))
    ]
    init_default_scope("mmseg")
    data = Compose(steps)(
        dict(img_path=image, seg_map_path=labels, reduce_zero_label=True, seg_fields=[])
    )
    return pseudo_collate([data])


def test_segmentation_averages_the_probabilities_of_all_sizes_and_flips(tmp_path) -> None:
    image, labels = picture(tmp_path)
    slide = dict(mode="slide", crop_size=(24, 24), stride=(16, 16))
    inner = build(SEGMENTOR, **{"model.test_cfg": slide})
    model = SemanticTTAModel(inner, test_cfg=dict(mode="whole"))
    with torch.no_grad():
        (merged,) = model.test_step(segmentation_views(image, labels))
        expected = reference_probabilities(inner, cv2.imread(str(image)), [(32, 45), (64, 90)])
    probabilities = merged.seg_logits.data.softmax(0)
    assert expected.std(dim=(1, 2)).max() > 0.01  # there is something to get wrong
    torch.testing.assert_close(probabilities, expected, atol=2e-6, rtol=1e-4)
    assert torch.equal(merged.pred_sem_seg.data, probabilities.argmax(0, keepdim=True))


def test_ground_truth_stays_upright_in_its_own_size_and_without_the_zero_label(tmp_path) -> None:
    image, labels = picture(tmp_path)
    inner = build(SEGMENTOR, **{"model.test_cfg": dict(mode="whole")})
    with torch.no_grad():
        (merged,) = SemanticTTAModel(inner).test_step(segmentation_views(image, labels))
    raw = cv2.imread(str(labels), cv2.IMREAD_GRAYSCALE).astype(int)
    assert np.array_equal(merged.gt_sem_seg.data[0].numpy(), np.where(raw == 0, 255, raw - 1))


def logits_of(*values: Any) -> dict[str, PixelData]:
    return dict(seg_logits=PixelData(data=torch.tensor(values)))


def test_a_single_channel_goes_through_no_second_sigmoid() -> None:
    answers = [[logits_of([[0.1, 0.9]])], [logits_of([[0.3, 0.5]])]]
    data = batch([None, "horizontal"], mmseg_structures.SegDataSample)
    (merged,) = SemanticTTAModel(Scripted(answers, threshold=0.3)).test_step(data)
    torch.testing.assert_close(merged.seg_logits.data, torch.tensor([[[0.2, 0.7]]]))
    assert merged.pred_sem_seg.data.tolist() == [[[0.0, 1.0]]]
    assert merged.flip is False


def test_merging_ready_predictions_equals_merging_view_by_view() -> None:
    views = [logits_of([[2.0, -1.0]], [[0.5, 3.0]]), logits_of([[0.0, 1.0]], [[4.0, -2.0]])]
    data = batch([None, None], mmseg_structures.SegDataSample)
    model = SemanticTTAModel(Scripted([[view] for view in views]))
    (step,) = model.test_step(data)
    samples = [
        s[0].new(seg_logits=v["seg_logits"])
        for s, v in zip(data["data_samples"], views, strict=True)
    ]
    (ready,) = model.merge_preds([samples])
    torch.testing.assert_close(step.seg_logits.data, ready.seg_logits.data)
    torch.testing.assert_close(
        step.seg_logits.data.softmax(0),
        torch.stack([v["seg_logits"].data.softmax(0) for v in views]).mean(0),
    )


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_a_cascades_flipped_view_equals_the_flipped_picture(tmp_path, direction) -> None:
    # mmdet's cascades, told of a flip, would mirror their masks inside the RoIs, and fail at it.
    path, _ = picture(tmp_path)
    inner = build(config_root() / "demo" / "cascade_convnext_shapes.py")
    image = cv2.imread(str(path))
    axis = dict(horizontal=1, vertical=0)[direction]
    cv2.imwrite(str(tmp_path / "flipped.png"), np.flip(image, axis))
    resize = dict(type="Resize", scale_factor=1.0)
    pack = dict(type="PackDetInputs")
    init_default_scope("mmdet")

    def data(file: Path, *steps: dict) -> dict[str, Any]:
        pipeline = Compose([dict(type="LoadImageFromFile"), *steps])
        return pseudo_collate([pipeline(dict(img_path=str(file), img_id=0))])

    views = [[resize], [dict(type="RandomFlip", prob=1.0, direction=direction)], [pack]]
    with torch.no_grad():
        (merged,) = InstanceTTAModel(inner).test_step(
            data(path, dict(type="TestTimeAug", transforms=views))
        )
        (plain,) = inner.test_step(data(tmp_path / "flipped.png", resize, pack))
    seen, upright = plain.pred_instances, merged.pred_instances
    assert len(seen) > 3 and seen.masks.any()
    side, first = image.shape[axis], 1 - axis
    boxes = seen.bboxes.clone()
    boxes[:, first], boxes[:, first + 2] = (
        side - seen.bboxes[:, first + 2],
        side - seen.bboxes[:, first],
    )
    # The detector's own NMS has left nothing for the second one, nor for the vote.
    assert torch.equal(upright.bboxes, boxes)
    assert torch.equal(upright.scores, seen.scores) and torch.equal(upright.labels, seen.labels)
    assert torch.equal(upright.masks, seen.masks.flip(axis + 1))
