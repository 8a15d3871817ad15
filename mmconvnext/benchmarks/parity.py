"""Training as the recipes say beside mmdet's and mmseg's own ConvNeXt configs: losses, iteration by
iteration, from the same weights, on the same pictures, with the same random numbers."""

from __future__ import annotations

import io
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from mmconvnext.benchmarks.parity_sides import PAIRS, Pair, sides
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.translating import from_native
from mmconvnext.compat.without_mmpretrain import THEIRS

ITERATIONS = 30
TOLERANCE = 1e-4  # relative, of each loss of each iteration
_SEED = 0
_NUDGE = 8  # roundings: about what another order makes of a sum of dozens
_BACKBONE = "backbone."
_PARTS = (
    "model",
    "work_dir",
    "train_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "default_hooks",
    "custom_hooks",
    "default_scope",
    "log_level",
)
_MMPRETRAIN = next(known for known in FORMATS if known.name == "mmpretrain")


@dataclass
class Trace:
    """What one side's training was.

    Args:
        losses: an iteration each: name → value, the sum under ``loss``.
        batches: an iteration each: a digest of the pictures that the network got.
        rates: parameter, under our names → learning rate at the first iteration.
        weights: what it learnt, at the end, under our names.
        network: module of the backbone's class.
    """

    losses: list[dict[str, float]]
    batches: list[str]
    rates: dict[str, float]
    weights: dict[str, Tensor]
    network: str


@dataclass
class Comparison:
    """Two traces beside each other.

    Args:
        title: what was trained.
        ours: our losses, an iteration each.
        stock: the host's.
        nudged: the host's once more, its first weights moved by a few roundings.
        same_batches: whether every batch was the same to the bit.
        same_rates: whether every parameter had the same learning rate.
        moved: norm of the change of all our weights, over all iterations.
        apart: norm of the difference between our weights and the host's, at the end.
        network: module of the host's backbone.
    """

    title: str
    ours: list[dict[str, float]]
    stock: list[dict[str, float]]
    nudged: list[dict[str, float]]
    same_batches: bool
    same_rates: bool
    moved: float
    apart: float
    network: str

    def differences(self) -> list[dict[str, float]]:
        """Relative differences, an iteration each: name of the loss → |ours - stock| / |stock|."""
        return _differences(self.ours, self.stock)

    def rounding(self) -> list[float]:
        """The largest relative difference of the host's losses from its own, nudged."""
        return [max(row.values()) for row in _differences(self.nudged, self.stock)]

    def judged(self, tolerance: float = TOLERANCE) -> int:
        """How many iterations, from the first on, the host agrees with itself to a hundredth of
        ``tolerance`` when nudged. After them rounding decides, whoever computes."""
        clear = [not value > tolerance / 100 for value in self.rounding()]  # NaN is judged
        return clear.index(False) if False in clear else len(clear)

    def largest(self) -> float:
        """The largest of all relative differences that are judged."""
        return max((max(row.values()) for row in self.differences()[: self.judged()]), default=0.0)

    def agrees(self, tolerance: float = TOLERANCE) -> bool:
        """Whether each loss of each iteration judged, at least one, is within ``tolerance``, and
        the input is the same."""
        rows = self.differences()[: self.judged(tolerance)]
        within = all(value <= tolerance for row in rows for value in row.values())  # NaN is not
        return self.same_batches and self.same_rates and within and bool(rows)


def compare(
    name: str, iterations: int = ITERATIONS, *, warm_up: bool = True, single: bool = False
) -> Comparison:
    """Train both sides of a pair on the CPU, and the host's once more nudged, and compare.

    Args:
        name: of ``PAIRS``.
        iterations: of two pictures each.
        warm_up: as the recipe has it; without, the full learning rate from the first iteration,
            where differences grow sooner.
        single: in single precision, where what rounding makes different grows.

    Raises:
        KeyError: there is no such pair.
        ModuleNotFoundError: the host, or mmpretrain, is not installed.
        RuntimeError: the sides have different losses, or weights that do not fit.
    """
    pair = PAIRS[name]
    with tempfile.TemporaryDirectory() as scratch, _quietly(), torch.random.fork_rng(devices=[]):
        data = Path(scratch, "data")
        data.mkdir()
        pair.make(data, pair.pictures(iterations), pair.size)
        ours, stock = sides(pair, data, Path(scratch), iterations, warm_up=warm_up)
        weights = _first_weights(ours, pair)
        traces = [
            trace(cfg, weights, _names(cfg, weights), single, nudged)
            for cfg, nudged in ((ours, False), (stock, False), (stock, True))
        ]
    rate = "the recipe's warm-up" if warm_up else "the full learning rate at once"
    precision = "single" if single else "double"
    return _compared(f"{pair.title}, {rate}, {precision} precision", weights, *traces)


def trace(
    cfg: Config, weights: Mapping[str, Tensor], names: Mapping[str, str], single: bool, nudged: bool
) -> Trace:
    """Train by ``cfg``.

    Args:
        cfg: a whole config, for one process on the CPU.
        weights: all of the model's, to start from; under our names.
        names: of the model's weights → ours.
        single: in single precision instead of double.
        nudged: each weight is moved, by up to ``_NUDGE`` times what rounding moves a number by.

    Raises:
        RuntimeError: ``weights`` do not fit the model.
    """
    # Not from_cfg, which lays out the text of the whole config, for seconds.
    runner = Runner(
        **{part: cfg.get(part) for part in _PARTS},
        randomness={"seed": _SEED},
        experiment_name=f"parity_{uuid4().hex}",  # by which mmengine keeps a run's history
    )
    follower = _Follower({theirs: weights[ours] for theirs, ours in names.items()}, single, nudged)
    runner.register_hook(follower, priority="LOWEST")
    runner.train()
    model: Any = runner.model
    return Trace(
        follower.losses,
        follower.batches,
        {names[name]: rate for name, rate in follower.rates.items()},
        {names[name]: value.detach() for name, value in model.named_parameters()},
        type(model.backbone).__module__.partition(".")[0],
    )


class _Follower(Hook):
    """Sets the start of a training and writes down its course."""

    def __init__(self, weights: Mapping[str, Tensor], single: bool, nudged: bool) -> None:
        self.weights, self.single, self.nudged = weights, single, nudged
        self.losses: list[dict[str, float]] = []
        self.batches: list[str] = []
        self.rates: dict[str, float] = {}

    def before_train(self, runner: Any) -> None:
        """Give the model its weights; all random numbers after that are drawn alike."""
        runner.model.load_state_dict(self.weights)
        if not self.single:
            runner.model.double()
            runner.model.data_preprocessor.register_forward_hook(_widen)
        if self.nudged:
            for weight in runner.model.parameters():
                spread = _NUDGE * torch.finfo(weight.dtype).eps
                weight.data *= 1 + spread * (2 * torch.rand_like(weight) - 1)
        set_random_seed(_SEED)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Write down what goes in."""
        if not self.rates:
            groups = runner.optim_wrapper.optimizer.param_groups
            names = {id(p): name for name, p in runner.model.named_parameters()}
            self.rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
        digest = sha256()
        for picture in data_batch["inputs"]:
            digest.update(picture.contiguous().numpy().tobytes())
        self.batches.append(digest.hexdigest())

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write down what comes out."""
        self.losses.append({name: float(v) for name, v in outputs.items() if "loss" in name})


def _widen(preprocessor: object, inputs: object, outputs: dict[str, Any]) -> dict[str, Any]:
    """A forward hook: normalised pictures in double precision."""
    return {**outputs, "inputs": outputs["inputs"].double()}


def _first_weights(cfg: Config, pair: Pair) -> dict[str, Tensor]:
    """A model's own random initial weights."""
    set_random_seed(_SEED)
    with DefaultScope.overwrite_default_scope(pair.host):
        model: Any = MODELS.build(cfg.model)
        model.init_weights()
    return dict(model.state_dict())


def _names(cfg: Config, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The names that ``weights`` have in ``cfg``'s model → ours."""
    if cfg.model.backbone.type != THEIRS:
        return {name: name for name in weights}
    backbone = {n.removeprefix(_BACKBONE): n for n in weights if n.startswith(_BACKBONE)}
    theirs: Any = from_native(backbone, _MMPRETRAIN)  # type: ignore[arg-type]
    rest = {name: name for name in weights if not name.startswith(_BACKBONE)}
    return rest | {_BACKBONE + name: ours for name, ours in theirs.items()}


def _differences(
    ones: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]
) -> list[dict[str, float]]:
    pairs = zip(ones, others, strict=True)
    return [{n: _relative(one[n], other[n]) for n in other} for one, other in pairs]


def _relative(ours: float, stock: float) -> float:
    if ours == stock:
        return 0.0
    return abs(ours - stock) / abs(stock) if stock else math.inf


def _compared(
    title: str, start: Mapping[str, Tensor], ours: Trace, stock: Trace, nudged: Trace
) -> Comparison:
    if [row.keys() for row in ours.losses] != [row.keys() for row in stock.losses]:
        raise RuntimeError(
            f"{title}: expected the losses {', '.join(stock.losses[0])} of both sides in as many "
            f"iterations, found {', '.join(ours.losses[0])} of ours"
        )
    return Comparison(
        title,
        ours.losses,
        stock.losses,
        nudged.losses,
        ours.batches == stock.batches,
        ours.rates == stock.rates,
        _distance(ours.weights, start),
        _distance(ours.weights, stock.weights),
        stock.network,
    )


def _distance(ones: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    return math.hypot(*((ones[name] - others[name]).norm().item() for name in ones))


@contextmanager
def _quietly() -> Iterator[None]:
    """What is built tells every step, in the log or by print."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
