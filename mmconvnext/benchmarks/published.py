"""What was published of detectors and segmentors: of other backbones by this table, of ConvNeXt by
the table of recipes.

Sources, with how they count: one picture of 1280x800 for COCO, 2048x512 (crops of 512) or 2560x640
(crops of 640) for ADE20K.

- ``convnext``: ConvNeXt, arXiv:2201.03545, tables 3 and 4; without parameters of detectors.
- ``swin``: Swin Transformer, arXiv:2103.14030, table 2, and the authors' README.
- ``mvit``: MViTv2, arXiv:2112.01526, table of Mask R-CNN on COCO, 36 epochs. It counts no products
  of attention, nor does ``cswin``: their GFLOPs of Swin are left out here.
- ``cswin``: CSWin, arXiv:2107.00652, table of Mask R-CNN on COCO, 3x.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmconvnext.recipes import Recipe, load_recipes

MASK_RCNN, CASCADE, UPERNET = "Mask R-CNN", "Cascade Mask R-CNN", "UperNet"
IMAGENET_1K, IMAGENET_22K = "ImageNet-1K", "ImageNet-22K"
_NO_ATTENTION = "the paper's figure leaves attention's products out"


@dataclass(frozen=True)
class Published:
    """A row of a paper's table; None: not there.

    Args:
        method: the detector or segmentor.
        network: its backbone, by the name it has in ``network_models.py``.
        pretraining: of the backbone.
        params: of the whole, in millions.
        gflops: 10^9 operations of the whole.
        box_ap: on COCO val2017.
        mask_ap: on COCO val2017.
        miou_ms: on ADE20K's validation pictures, at several scales and flipped.
        source: a key of this module's list, or ``recipes``.
        crop: side of the training crops, of segmentors.
        remark: how it was counted, where that differs from the others.
    """

    method: str
    network: str
    pretraining: str
    params: int | None
    gflops: int | None
    box_ap: float | None
    mask_ap: float | None
    miou_ms: float | None
    source: str
    crop: int = 512
    remark: str = ""

    @property
    def accuracy(self) -> float | None:
        """What its tables are sorted by: box AP, or mIoU."""
        return self.miou_ms if self.method == UPERNET else self.box_ap


def _coco(
    method: str,
    network: str,
    counts: tuple[int | None, int | None],
    ap: tuple[float, float],
    source: str,
    pretraining: str = IMAGENET_1K,
    remark: str = "",
) -> Published:
    return Published(method, network, pretraining, *counts, *ap, None, source, remark=remark)


def _ade(
    network: str,
    counts: tuple[int, int],
    miou_ms: float,
    source: str,
    crop: int = 512,
    remark: str = "",
) -> Published:
    pretraining = IMAGENET_1K if crop == 512 else IMAGENET_22K
    return Published(
        UPERNET, network, pretraining, *counts, None, None, miou_ms, source, crop, remark
    )


_OTHERS = (
    _coco(MASK_RCNN, "resnet50", (44, 260), (41.0, 37.1), "mvit"),
    _coco(MASK_RCNN, "resnet101", (63, 336), (42.8, 38.5), "mvit"),
    _coco(MASK_RCNN, "resnext101-32x4d", (63, 340), (44.0, 39.2), "cswin"),
    _coco(MASK_RCNN, "resnext101-64x4d", (101, 493), (44.4, 39.7), "mvit"),
    _coco(MASK_RCNN, "swin-t", (48, 267), (46.0, 41.6), "swin"),
    _coco(MASK_RCNN, "swin-s", (69, 359), (48.5, 43.3), "swin"),
    _coco(MASK_RCNN, "swin-b", (107, None), (48.5, 43.4), "cswin"),
    _coco(CASCADE, "resnet50", (82, 739), (46.3, 40.1), "swin"),
    _coco(CASCADE, "resnext101-32x4d", (101, 819), (48.1, 41.6), "swin"),
    _coco(CASCADE, "resnext101-64x4d", (140, 972), (48.3, 41.7), "swin"),
    _coco(CASCADE, "swin-t", (86, 745), (50.4, 43.7), "swin"),
    _coco(CASCADE, "swin-s", (107, 838), (51.9, 45.0), "swin"),
    _coco(CASCADE, "swin-b", (145, 982), (51.9, 45.0), "swin"),
    _coco(CASCADE, "swin-b", (None, 982), (53.0, 45.8), "convnext", IMAGENET_22K),
    _coco(CASCADE, "swin-l", (None, 1382), (53.9, 46.7), "convnext", IMAGENET_22K, _NO_ATTENTION),
    _ade("resnet101", (86, 1029), 44.9, "swin"),
    _ade("swin-t", (60, 945), 45.8, "swin"),
    _ade("swin-s", (81, 1038), 49.5, "swin"),
    _ade("swin-b", (121, 1188), 49.7, "swin"),
    _ade("swin-b", (121, 1841), 51.7, "convnext", 640),
    _ade("swin-l", (234, 2468), 53.5, "convnext", 640, remark=_NO_ATTENTION),
)


def published_rows(method: str, network: str) -> list[Published]:
    """The rows of a detector or segmentor with one backbone, in the papers' order."""
    return [row for row in _all() if (row.method, row.network) == (method, network)]


def _all() -> list[Published]:
    recipes = [recipe for recipe in load_recipes() if recipe.published != "-"]
    return [*_OTHERS, *(_of_recipe(recipe) for recipe in recipes)]


def _of_recipe(recipe: Recipe) -> Published:
    """``ConvNeXt V2-B`` of the recipes is ``convnextv2-b`` here."""
    params, gflops = recipe.published_params, recipe.published_gflops
    return Published(
        recipe.method,
        recipe.network.lower().replace(" ", ""),
        recipe.pretraining,
        None if params is None else int(params),
        None if gflops is None else int(gflops),
        recipe.box_ap,
        recipe.mask_ap,
        recipe.miou_ms,
        "recipes",
        640 if recipe.config.endswith("_640.py") else 512,
    )
