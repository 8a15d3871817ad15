"""UPerNet's head, alone and in UperNet-T: ours against mmseg's, on the same weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmconvnext.benchmarks.peers import missing_mmpretrain, mmpretrains
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, apart, interleaved

RECIPE = "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py"
SIZE = 512  # pixels, height and width of the one image
STRIDES = (4, 8, 16, 32)
OURS = "mmconvnext"
STOCK = "mmseg's UPerHead with mmpretrain's ConvNeXt"
MIXED = "mmseg's UPerHead with our ConvNeXt"
INFERENCE_TARGET, STEP_TARGET = 0.70, 0.75
_TOLERANCE = 1e-4  # of logits


def measure(rounds: int = ROUNDS) -> list[Table]:
    """Inference and a training step (forward, backward), of the head alone and of the whole."""
    tables: list[Table] = []
    for make in (head_inference, head_step, whole_inference, whole_step):
        tables.append(apart(make, rounds))
    return tables


def head_inference(rounds: int = ROUNDS) -> Table:
    """A pyramid to logits."""
    heads, maps = _heads(), _pyramid()
    rows = interleaved({n: _without_gradients(h.eval(), maps) for n, h in heads.items()}, rounds)
    return Table(_title("decode head, inference"), "s", rows, (OURS,))


def head_step(rounds: int = ROUNDS) -> Table:
    """A pyramid to the gradients of parameters and of the pyramid."""
    heads, maps = _heads(), [m.requires_grad_() for m in _pyramid()]

    def step(head: nn.Module) -> Callable[[], None]:
        return lambda: _backward(head, head(maps).square().mean(), maps)

    rows = interleaved({name: step(_training(head)) for name, head in heads.items()}, rounds)
    return Table(_title("decode head, training step"), "s", rows, (OURS,))


def whole_inference(rounds: int = ROUNDS) -> Table:
    """An image to logits."""
    models, missing, no_peers = _segmentors()
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    candidates = {n: _without_gradients(m.eval(), image) for n, m in models.items()}
    rows = interleaved(candidates, rounds) + missing
    return Table(_title("UperNet-T, inference"), "s", rows, no_peers, INFERENCE_TARGET)


def whole_step(rounds: int = ROUNDS) -> Table:
    """An image with made-up labels to the gradients of both heads' losses."""
    models, missing, no_peers = _segmentors()
    batch = _labelled_batch()

    def step(model: Any) -> Callable[[], None]:
        def run() -> None:
            losses = model(**batch, mode="loss")
            _backward(model, sum(loss for name, loss in losses.items() if "loss" in name), [])

        return run

    rows = interleaved({name: step(_training(model)) for name, model in models.items()}, rounds)
    return Table(_title("UperNet-T, training step"), "s", rows + missing, no_peers, STEP_TARGET)


def _title(what: str) -> str:
    return f"{what}, 1x3x{SIZE}x{SIZE}, float32, {torch.get_num_threads()} threads"


def _heads() -> dict[str, nn.Module]:
    with _building() as cfg:
        head = cfg.model.decode_head
        mmsegs = MODELS.build(head.copy() | {"type": "UPerHead"})
        ours = MODELS.build(head.copy())
    ours.load_state_dict(mmsegs.state_dict())
    return {"mmseg's UPerHead": mmsegs, OURS: ours}


def _pyramid() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    with _building() as cfg:
        channels = cfg.model.decode_head.in_channels
    sizes = [(SIZE // stride, SIZE // stride) for stride in STRIDES]
    pairs = zip(channels, sizes, strict=True)
    return [torch.randn(1, c, *size, generator=generator) for c, size in pairs]


def _segmentors() -> tuple[dict[str, nn.Module], list[Row], tuple[str, ...]]:
    """Whole networks by name, with the same weights and logits; a row for what is not there; and
    which are no peers: mmseg's with our backbone, too, where it stands beside mmpretrain's."""
    with _building() as cfg:
        ours = MODELS.build(cfg.model)
        cfg.model.decode_head.type = "UPerHead"
        mixed, stock = MODELS.build(cfg.model), MODELS.build(cfg.model)
    for model in (mixed, stock):
        model.load_state_dict(ours.state_dict())
    models = {OURS: ours, MIXED: mixed}
    try:
        stock.backbone = mmpretrains(ours.backbone)
    except (ImportError, TypeError) as error:
        return models, [missing_mmpretrain(STOCK, error)], (OURS,)
    models[STOCK] = stock
    _check(models)
    return models, [], (OURS, MIXED)


@torch.no_grad()
def _check(models: Mapping[str, nn.Module]) -> None:
    """Compare the logits of a small image."""
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    logits = {name: model.eval()(image) for name, model in models.items()}
    for name, found in logits.items():
        difference = (found - logits[OURS]).abs().max().item()
        if not difference <= _TOLERANCE:
            raise RuntimeError(f"{name}: logits differ from ours by {difference:g}")


@contextmanager
def _building() -> Iterator[Config]:
    """The recipe, with norms for one process and without pretrained weights, in silence."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), DefaultScope.overwrite_default_scope("mmseg"):
            warnings.simplefilter("ignore")
            cfg = Config.fromfile(RECIPE)
            cfg.model.backbone.update(init_cfg=None, drop_path_rate=0.0)  # no chance in a step
            for name in ("decode_head", "auxiliary_head"):
                cfg.model[name].norm_cfg = dict(type="BN")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                yield cfg
    finally:
        logging.disable(disabled)


def _training(model: nn.Module) -> nn.Module:
    """In training mode, but for the norms of the pooled maps: one image has one mean."""
    model.train()
    for name, module in model.named_modules():
        if name.endswith("psp_modules"):
            module.eval()
    return model


def _labelled_batch() -> Mapping[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    sample = SegDataSample(metainfo={"img_shape": (SIZE, SIZE)})
    labels = torch.randint(150, (1, SIZE, SIZE), generator=generator)
    sample.gt_sem_seg = PixelData(data=labels)
    image = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    return {"inputs": image, "data_samples": [sample]}


def _without_gradients(model: Callable[[Any], object], inputs: Any) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return model(inputs)

    return run


def _backward(model: nn.Module, loss: Any, inputs: list[Tensor]) -> None:
    loss.backward()
    for tensor in (*model.parameters(), *inputs):
        tensor.grad = None
