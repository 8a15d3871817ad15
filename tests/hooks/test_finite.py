from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from sample_guarded_runs import (
    INF,
    NAN,
    AfterEach,
    Network,
    Trouble,
    make_runner,
    pictures,
    same,
    weights,
)
from torch import nn

from mmconvnext.hooks import FiniteGuardHook, NonFiniteError
from mmconvnext.hooks.replay_file import read_replay

SKIPPED = 2  # the iteration with the trouble, from 0; pictures 4 and 5


def start() -> dict[str, torch.Tensor]:
    """Weights that all runs of a test begin with."""
    torch.manual_seed(5)
    return Network().state_dict()


def network(*args, **settings) -> Network:
    model = Network(*args, **settings)
    model.load_state_dict(start())
    return model


def bad_picture(data: list) -> list:
    data[2 * SKIPPED + 1]["inputs"][0, 0, 0] = NAN
    return data


@pytest.mark.parametrize(
    ("kind", "said", "first"),
    [
        ("output", "loss_cls = nan", "first non-finite output: stem.2 (Trouble), 0.781 % of"),
        ("loss", "loss_bbox = inf", "first non-finite output: the model (Network), 50 % of"),
        (
            "picture",
            "loss_cls = nan",
            "not finite in the batch itself: inputs[1]; first non-finite",
        ),
        (
            "gradient",
            "gradients that are not finite",
            "first non-finite gradient: of the input of stem.2 (Trouble), 100 % of",
        ),
        ("error", "ValueError in the step", "first non-finite output: head (Linear), 100 % of"),
    ],
)
def test_it_stops_before_the_weights_and_says_where_it_began(tmp_path, kind, said, first):
    data = pictures(8)
    if kind == "picture":
        bad_picture(data)
    before = []
    runner = make_runner(
        tmp_path, network(kind, [SKIPPED]), data, FiniteGuardHook(),
        hooks=[AfterEach(lambda runner: before.append(weights(runner.model)))],
    )  # fmt: skip
    with pytest.raises(NonFiniteError) as stopped:
        runner.train()
    line = str(stopped.value)
    assert line.startswith(f"iteration 3: {said}; ") and first in line
    assert line.endswith("pictures: 4.jpg, 5.jpg") and "\n" not in line
    assert f"mmconvnext replay CONFIG {tmp_path / 'nonfinite_iter_3.pth'};" in line
    # Neither the weights, nor the norm's statistics, nor what was saved know of it.
    assert same(weights(runner.model), before[-1]) and len(before) == SKIPPED
    assert sorted(path.name for path in tmp_path.glob("iter_*")) == ["iter_1.pth", "iter_2.pth"]
    assert line in next(tmp_path.glob("*/*.log")).read_text()


@pytest.mark.parametrize("kind", ["output", "loss", "picture", "gradient", "error"])
def test_after_a_skipped_batch_all_is_as_if_it_had_never_come(tmp_path, kind):
    data = pictures(10)
    without = copy.deepcopy(data[: 2 * SKIPPED] + data[2 * SKIPPED + 2 :])
    if kind == "picture":
        bad_picture(data)
    guarded = make_runner(
        tmp_path / "guarded", network(kind, [SKIPPED]), data, FiniteGuardHook("skip")
    )
    guarded.train()
    plain = make_runner(tmp_path / "plain", network(), without, None)
    plain.train()
    assert same(weights(guarded.model), weights(plain.model))
    ones, others = guarded.optim_wrapper.state_dict(), plain.optim_wrapper.state_dict()
    assert same(
        {str(n): s["momentum_buffer"] for n, s in ones["state"].items()},
        {str(n): s["momentum_buffer"] for n, s in others["state"].items()},
    )
    log = next((tmp_path / "guarded").glob("*/*.log")).read_text()
    assert "; the batch is skipped" in log
    assert "a loss or gradient was not finite, batches skipped: 1 (in iterations 3)" in log
    history = guarded.message_hub.get_scalar("train/loss").data[0]
    assert len(history) == 4 and all(history == history)  # its losses are not in the log


def test_looking_for_the_place_draws_nothing_from_the_generators(tmp_path):
    class Restless(Trouble):
        """Draws more if it is called a second time in an iteration."""

        seen = -1

        def forward(self, x):
            now = MessageHub.get_current_instance().get_info("iter")
            torch.rand(5 if now == self.seen else 2)
            self.seen = now
            return super().forward(x)

    def run(name: str, at: list[int]) -> torch.Tensor:
        model = network()
        model.stem[2] = Restless("output", at)
        make_runner(tmp_path / name, model, pictures(8), FiniteGuardHook("skip")).train()
        return torch.get_rng_state()

    assert torch.equal(run("bad", [1]), run("good", []))


def test_the_second_run_draws_what_the_first_did(tmp_path):
    class Unlucky(nn.Module):
        """Is not finite where a random number is small."""

        def forward(self, x):
            luck = torch.rand(())
            drawn.append(float(luck))
            return torch.where(luck < 0.5, NAN, x)

    drawn: list[float] = []
    model = network()
    model.stem[2] = Unlucky()
    with pytest.raises(NonFiniteError, match=r"stem.2 \(Unlucky\), 100 % of"):
        make_runner(tmp_path, model, pictures(40), FiniteGuardHook()).train()
    assert drawn[-1] == drawn[-2] < 0.5 and all(luck >= 0.5 for luck in drawn[:-2])


def test_trouble_that_does_not_come_again_is_said_to(tmp_path):
    class Once(nn.Module):
        done = False

        def forward(self, x):
            if self.done:
                return x
            self.done = True
            return x * NAN

    model = network()
    model.stem[2] = Once()
    with pytest.raises(NonFiniteError, match="a second run of the same batch was finite"):
        make_runner(tmp_path, model, pictures(4), FiniteGuardHook()).train()


def test_an_error_with_finite_numbers_stays_what_it_is(tmp_path):
    class Failing(nn.Module):
        def forward(self, x):
            raise KeyError("something else")

    model = network()
    model.stem[2] = Failing()
    with pytest.raises(KeyError, match="something else"):
        make_runner(tmp_path, model, pictures(4), FiniteGuardHook("skip")).train()
    assert not list(tmp_path.glob("nonfinite*"))


def test_more_skipped_batches_than_allowed_stop_the_training(tmp_path):
    runner = make_runner(
        tmp_path, network("output", [1, 3, 4]), pictures(20),
        FiniteGuardHook("skip", max_skipped=2, max_files=2),
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match="2 batches were skipped within 1000 iterations") as e:
        runner.train()
    assert str(e.value).startswith("iteration 5: ")
    assert f"no file for a replay, {tmp_path} has 2" in str(e.value)
    files = sorted(path.name for path in tmp_path.glob("nonfinite*"))
    assert files == ["nonfinite_iter_2.pth", "nonfinite_iter_4.pth"]


def test_skips_far_apart_do_not_add_up(tmp_path):
    runner = make_runner(
        tmp_path, network("output", [1, 3, 8]), pictures(20),
        FiniteGuardHook("skip", max_skipped=2, window=5),
    )  # fmt: skip
    runner.train()
    assert runner.iter == 10


@pytest.mark.parametrize("kind", ["output", "gradient"])
def test_of_accumulated_gradients_what_there_is_goes_and_the_rest_counts(tmp_path, kind):
    """Of three batches a step the second is bad: the step is that of the third alone."""
    data = pictures(12)
    wrapper = {
        "type": "OptimWrapper",
        "accumulative_counts": 3,
        "optimizer": {"type": "SGD", "lr": 0.1},
    }
    after = []
    runner = make_runner(
        tmp_path, network(kind, [1]), data, FiniteGuardHook("skip"), optim_wrapper=wrapper,
        hooks=[AfterEach(lambda runner: after.append(weights(runner.model)))],
    )  # fmt: skip
    runner.train()

    model = network()
    model.train()
    batch = [item["inputs"] for item in data]
    model(batch[0:2])  # its statistics stay, its gradient does not
    sum(model(batch[4:6]).values()).div(3).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert same(after[2], weights(model))
    assert not same(after[5], after[2])  # it went on


SCHEDULES = {
    "none": [],
    "from the last rate": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 4},
        {"type": "PolyLR", "eta_min": 0.01, "by_epoch": False, "begin": 2, "end": 9},
    ],
    "from the first rate": [
        {"type": "OneCycleLR", "eta_max": 0.2, "total_steps": 9, "by_epoch": False}
    ],
}


class Rates(Hook):
    """Notes the rates that the optimizer makes its steps with, and those of the schedule."""

    def __init__(self) -> None:
        self.used: list[float] = []
        self.scheduled: list[float] = []

    def before_train(self, runner) -> None:
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda optimizer, *_: self.used.append(optimizer.param_groups[0]["lr"])
        )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.scheduled.append(runner.optim_wrapper.optimizer.param_groups[0]["lr"])


@pytest.mark.filterwarnings("error:Seems like .optimizer.step")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_lowered_rates_stay_lower_whatever_the_schedule_and_over_a_resume(tmp_path, schedule):
    def train(at: list[int], iterations: int, resume: bool = False) -> tuple[Rates, list]:
        rates = Rates()
        guard = FiniteGuardHook("lower", factor=0.25)
        runner = make_runner(
            tmp_path / str(at), network("output", at), pictures(20), guard, hooks=[rates],
            schedule=copy.deepcopy(SCHEDULES[schedule]), iterations=iterations, resume=resume,
        )  # fmt: skip
        runner.train()
        return rates, runner.message_hub

    expected = train([], 8)[0].scheduled
    lowered, hub = train([2, 4], 6)
    assert lowered.scheduled == expected[:6]
    factors = [1, 1, 0.25, 0.0625]  # of the steps that are made: not those of 2 and 4
    assert lowered.used == [expected[n] * f for n, f in zip([0, 1, 3, 5], factors, strict=True)]
    assert hub.get_scalar("train/lr_factor").current() == 0.0625
    resumed, _ = train([2, 4], 8, resume=True)
    assert resumed.used == [rate * 0.0625 for rate in resumed.scheduled] and len(resumed.used) == 2


def test_great_numbers_whose_squares_overflow_are_finite(tmp_path):
    class Great(nn.Module):
        def forward(self, x):
            return x * 1e17

    model = network()
    model.stem[2] = Great()
    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}}
    gradients = []
    runner = make_runner(tmp_path, model, pictures(4), FiniteGuardHook(), optim_wrapper=wrapper)
    handle = model.stem[0].weight.register_hook(lambda grad: gradients.append(grad))
    runner.train()
    handle.remove()
    assert gradients[0].square().sum() == INF and torch.isfinite(gradients[0]).all()
    assert runner.iter == 2


def test_weights_that_are_not_finite_are_not_trained(tmp_path):
    model = network()
    with torch.no_grad():
        model.head.weight[0, 0] = INF
    with pytest.raises(
        NonFiniteError, match=r"the weight head.weight is not finite before training"
    ):
        make_runner(tmp_path, model, pictures(4), FiniteGuardHook("skip")).train()


class Breaking(Hook):
    """Breaks a weight after an iteration, as an optimizer may from sound gradients."""

    priority = "VERY_HIGH"

    def __init__(self, after: int) -> None:
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.after:
            with torch.no_grad():
                runner.model.head.weight[0, 0] = NAN


@pytest.mark.parametrize("saving", ["CheckpointHook", "WholeCheckpointHook"])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, saving):
    runner = make_runner(
        tmp_path, network(), pictures(8), FiniteGuardHook("skip"), hooks=[Breaking(1)],
        saving=saving,
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"the weight head.weight is not finite after a step"):
        runner.train()
    assert [path.name for path in tmp_path.glob("iter_*.pth")] == ["iter_1.pth"]


def test_with_broken_weights_no_batch_is_skipped(tmp_path):
    runner = make_runner(
        tmp_path, network(), pictures(8), FiniteGuardHook("skip"), hooks=[Breaking(1)], interval=9
    )
    with pytest.raises(
        NonFiniteError, match=r"the weight head.weight is not finite already; first"
    ):
        runner.train()
    assert not list(tmp_path.glob("iter_*"))


def test_buffers_that_are_made_infinite_are_left_alone(tmp_path):
    model = network()
    model.register_buffer("bound", torch.tensor([INF]))
    runner = make_runner(tmp_path, model, pictures(8), FiniteGuardHook("skip"))
    runner.train()
    assert len(list(tmp_path.glob("iter_*"))) == 4


def test_several_optimizers_are_not_guarded_and_that_is_said(tmp_path):
    class Two(Network):
        def train_step(self, data, optim_wrapper):
            loss = sum(self(**self.data_preprocessor(data, True)).values())
            for one in optim_wrapper.values():
                one.zero_grad()
            loss.backward()
            for one in optim_wrapper.values():
                one.step()
            return {"loss": loss}

    from mmengine.optim import OptimWrapper, OptimWrapperDict

    model = Two()
    wrappers = OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1))
            for name, part in (("stem", model.stem), ("head", model.head))
        }
    )
    runner = make_runner(
        tmp_path, model, pictures(4), FiniteGuardHook(), optim_wrapper=wrappers, interval=9
    )
    runner.train()
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert log.count("OptimWrapperDict is not guarded, only an OptimWrapper is") == 1


def test_after_training_the_runner_is_as_before(tmp_path):
    runner = make_runner(tmp_path, network(), pictures(4), FiniteGuardHook())
    runner.train()
    assert "train_step" not in vars(runner.model)
    assert not {"backward", "step"} & set(vars(runner.optim_wrapper))


def test_a_copy_of_the_model_in_training_is_one_of_the_model_alone(tmp_path):
    copies = []
    runner = make_runner(
        tmp_path, network(), pictures(4), FiniteGuardHook(),
        hooks=[AfterEach(lambda runner: copies.append(copy.deepcopy(runner.model)))],
    )  # fmt: skip
    runner.train()
    assert same(weights(copies[-1]), weights(runner.model))
    assert not same(weights(copies[0]), weights(runner.model))


@pytest.mark.parametrize(
    "settings",
    [{"action": "wait"}, {"max_skipped": 0}, {"factor": 1.0}, {"factor": 0.0}, {"window": 0}],
)
def test_arguments_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=re.escape(str(next(iter(settings.values()))))):
        FiniteGuardHook(**settings)


def test_the_kept_file_has_what_was_before_the_batch(tmp_path):
    data = pictures(8)
    before = []
    runner = make_runner(
        tmp_path, network("output", [SKIPPED]), data, FiniteGuardHook(),
        hooks=[AfterEach(lambda runner: before.append(weights(runner.model)))],
    )  # fmt: skip
    with pytest.raises(NonFiniteError):
        runner.train()
    kept = read_replay(tmp_path / "nonfinite_iter_3.pth")
    assert kept.iteration == 3 and kept.found.startswith("loss_cls = nan; first non-finite output")
    assert same(dict(kept.weights), before[-1])
    batch = kept.data()
    assert torch.equal(batch["inputs"][1], data[5]["inputs"])
    assert [sample.img_path for sample in batch["data_samples"]] == ["4.jpg", "5.jpg"]
    # Nothing but tensors and plain values is in it: PyTorch's own check, without our allow-list.
    with torch.serialization.safe_globals([]):
        torch.load(tmp_path / "nonfinite_iter_3.pth", weights_only=True)


def test_a_full_disk_does_not_hide_what_happened(tmp_path, monkeypatch):
    def full(path, replay):
        raise OSError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("mmconvnext.hooks.finite_report.write_replay", full)
    runner = make_runner(tmp_path, network("output", [1]), pictures(6), FiniteGuardHook("skip"))
    runner.train()
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "no file for a replay: cannot write" in log and "No space left on device" in log
    assert runner.iter == 3


def test_losses_of_skipped_batches_leave_no_nan_in_the_logs_figures(tmp_path):
    model = network("output", [1])
    make_runner(tmp_path, model, pictures(20), FiniteGuardHook("skip")).train()
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert lines and all(line["loss"] == line["loss"] for line in lines if "loss" in line)
