"""The two configs of each comparison: a recipe of ours and the host's own, both cut down to what a
CPU trains in minutes, by the same function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmconvnext.compat.without_mmpretrain import is_installed, use_own_convnext
from mmconvnext.data.photos import make_ade_photos, make_coco_photos

_SHRINK = 8  # the pipelines' sizes are divided by this, and the pictures are that much smaller
_SIZES = ("scale", "scales", "crop_size")


@dataclass(frozen=True)
class Pair:
    """A recipe and the host's config for the same.

    Args:
        title: of both.
        host: package whose config the other is.
        ours: our recipe.
        stock: the host's config.
        make: writes made-up photographs into a folder: ``(folder, number, (height, width))``.
        useful: of four pictures that it writes, how many are trained on.
        size: height and width of the pictures in pixels.
    """

    title: str
    host: str
    ours: str
    stock: str
    make: Callable[[Path, int, tuple[int, int]], None]
    useful: int
    size: tuple[int, int] = (60, 80)

    def pictures(self, iterations: int) -> int:
        """How many pictures are to be made for as many iterations of two."""
        return -(-2 * iterations * 4 // self.useful)


PAIRS = {
    "mask_rcnn": Pair(
        "Mask R-CNN, ConvNeXt-T",
        "mmdet",
        "mmconvnext::detection/mask_rcnn_convnext_t_coco.py",
        "mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py",
        make_coco_photos,
        useful=3,  # the fourth shows nothing, which both configs filter out
    ),
    "upernet": Pair(
        "UperNet, ConvNeXt-T",
        "mmseg",
        "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py",
        "mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py",
        make_ade_photos,
        useful=4,
    ),
}


def sides(
    pair: Pair, data: Path, work_dir: Path, iterations: int, *, warm_up: bool = True
) -> tuple[Config, Config]:
    """Our config and the host's for a short training on ``data``.

    Where mmpretrain is not installed, our network takes the place of its.

    Args:
        pair: of ``PAIRS``.
        data: folder with its made-up photographs.
        work_dir: where runs write what they write.
        iterations: of two pictures each.
        warm_up: whether the learning rate starts as in our recipe, or at its full value.

    Raises:
        ModuleNotFoundError: the host is not installed.
    """
    ours = Config.fromfile(pair.ours)
    stock = Config.fromfile(pair.stock, import_custom_modules=False)
    if is_installed():
        import_module("mmpretrain.models")
    use_own_convnext(stock)
    # OpenMMLab's configs warm up for twice as many iterations (Mask R-CNN), and begin to let the
    # rate fall only after it (UperNet): the authors' code does as our recipes do.
    stock.param_scheduler = ours.param_scheduler
    small = _cut_down(ours, data, iterations), _cut_down(stock, data, iterations)
    for side, cfg in zip(("ours", "stock"), small, strict=True):
        if not warm_up:
            cfg.param_scheduler = None
        cfg.work_dir = str(work_dir / side)
    return small


def _cut_down(cfg: Config, data: Path, iterations: int) -> Config:
    """Made-up photographs, an eighth as wide, two at a time, and an eighth of the regions; without
    automatic precision, in one process, from weights that are set later; and nothing is saved."""
    cfg = Config(_replaced(cfg.to_dict()))
    cfg.model.backbone.init_cfg = None
    cfg.optim_wrapper.type = "OptimWrapper"  # mmengine's automatic precision needs a GPU
    cfg.optim_wrapper.pop("loss_scale", None)
    if cfg.train_cfg.type == "EpochBasedTrainLoop":
        cfg.train_cfg.max_epochs = 1
    else:
        cfg.train_cfg.max_iters = iterations
    if "rcnn" in cfg.model.train_cfg:
        cfg.model.train_cfg.rcnn.sampler.num //= _SHRINK
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.update(data_root=f"{data}/", indices=2 * iterations)
    cfg.default_hooks = dict(checkpoint=None, logger=None)
    cfg.log_level = "ERROR"
    return cfg


def _replaced(node: Any, key: str = "") -> Any:
    """A config with smaller pictures, crops and anchors, and with norms for one process."""
    if isinstance(node, dict):
        return type(node)({name: _replaced(value, name) for name, value in node.items()})
    if isinstance(node, (list, tuple)):
        return type(node)(_replaced(value, key) for value in node)
    if node == "SyncBN":
        return "BN"
    if key in _SIZES or key == "size":
        return node // _SHRINK
    return node
