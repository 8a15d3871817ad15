"""Two gloo processes beside one, over twenty iterations: the model whole in each (DDP, mmengine's
runner and its DDPStrategy), or divided between them (``--fsdp``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sample_names import forget_names
from sample_processes import WITH_LOSSES, mean_losses, run_in_two

from mmconvnext.cli.main import main
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

CONFIGS = Path(__file__).parent / "configs"
ITERATIONS = 20
HALF = ITERATIONS // 2
BATCH = 4
ALONE = f"train_dataloader.batch_size={BATCH}"
TOLERANCE = 1e-5
LAUNCHED = ("--launcher", "pytorch")
WAYS: dict[str, tuple[str, ...]] = {"ddp": (), "strategy": (), "fsdp": ("--fsdp",)}
MMENGINES = "runner_type = 'FlexibleRunner'\nstrategy = dict(type='DDPStrategy')\n"
MODES = ("activation", "mlp", "block", "auto")
MAKERS = {"segmentation": make_ade_shapes, "detection": make_coco_shapes}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folder of data and configs."""
    root = tmp_path_factory.mktemp("two")
    for task, make in MAKERS.items():
        make(root / task, ShapesSpec(train=8, val=1, size=64, max_shapes=2))
        base = str(CONFIGS / f"shared_batch_{task}.py")
        text = f"_base_ = {base!r}\n{WITH_LOSSES}"
        (root / f"{task}.py").write_text(text)
        (root / f"{task}_strategy.py").write_text(text + MMENGINES)
    return root


@pytest.fixture(scope="module")
def command(root) -> Callable[..., list[str]]:
    """Arguments of a training of ``task``'s config, or that of ``name``, in ``root / name``."""

    def of(task: str, name: str, *options: str, iterations: int = ITERATIONS) -> list[str]:
        # One seed's weights differ between the runners: FlexibleRunner builds the data first.
        start = root / f"{task}_start" / "iter_1.pth"
        if name != start.parent.name and "--resume" not in options:
            options = (*options, f"load_from={start}")
        config = root / f"{name}.py" if (root / f"{name}.py").is_file() else root / f"{task}.py"
        settings = [option for option in options if "=" in option]
        return [
            *("train", str(config), "--data-root", str(root / task)),
            *("--work-dir", str(root / name), "--max-iters", str(iterations)),
            *("--seed", "0", "--device", "cpu"),
            *(option for option in options if "=" not in option),
            *("--cfg-options", f"default_hooks.checkpoint.interval={HALF}", *settings),
        ]

    return of


@pytest.fixture(scope="module")
def work(root, command) -> Path:
    """The folder, with all runs in it."""
    seg, halfway = "segmentation", f"iter_{HALF}.pth"
    standing = "optim_wrapper.optimizer.lr=0.0"
    _run_alone(*(command(task, f"{task}_start", standing, iterations=1) for task in MAKERS))
    two = [
        *(command(task, f"{task}_{way}", *WAYS[way]) for task in MAKERS for way in WAYS),
        *(
            command(seg, f"accumulated_{way}", *WAYS[way], *_accumulating(2), iterations=40)
            for way in ("ddp", "fsdp")
        ),
        *(
            command(seg, f"mode_{mode}", "--fsdp", f"model.backbone.recompute={mode}", iterations=5)
            for mode in MODES
        ),
        command(seg, "clipped_fsdp", "--fsdp", "optim_wrapper.clip_grad.max_norm=0.1"),
        command(seg, "fsdp_to_ddp", "--resume", str(root / f"{seg}_fsdp" / halfway)),
        command(seg, "ddp_to_fsdp", "--fsdp", "--resume", str(root / f"{seg}_ddp" / halfway)),
    ]
    run_in_two([[*arguments[:1], *LAUNCHED, *arguments[1:]] for arguments in two], root)
    _run_alone(
        *(command(task, f"{task}_one", ALONE) for task in MAKERS),
        command(seg, "accumulated_one", *_accumulating(4), iterations=80),
        command(seg, "clipped_one", ALONE, "optim_wrapper.clip_grad.max_norm=0.1"),
        command(seg, "fsdp_to_one", ALONE, "--resume", str(root / f"{seg}_fsdp" / halfway)),
    )
    return root


def _run_alone(*commands: list[str]) -> None:
    for arguments in commands:
        assert main(arguments) == 0
        forget_names()


def _accumulating(count: int) -> tuple[str, str]:
    return "train_dataloader.batch_size=1", f"optim_wrapper.accumulative_counts={count}"


def saved(folder: Path, iterations: int = ITERATIONS) -> dict:
    found = torch.load(folder / f"iter_{iterations}.pth", weights_only=False)
    # mmengine's DDPStrategy saves the names that its wrapper gives.
    weights = found["state_dict"].items()
    found["state_dict"] = {name.removeprefix("module."): value for name, value in weights}
    return found


def same(found: list[float], expected: list[float]) -> None:
    assert len(found) == len(expected) > 0
    for number, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        assert one == pytest.approx(other, rel=TOLERANCE), f"iteration {number}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", MAKERS)
def test_losses_are_those_of_one_process(task, way, work):
    losses = mean_losses(work / f"{task}_one")
    same(mean_losses(work / f"{task}_{way}"), losses)
    assert len(losses) == ITERATIONS and losses[-1] < 0.9 * losses[0]  # it learns


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", MAKERS)
def test_checkpoints_are_those_of_one_process(task, way, work):
    one, two = (saved(work / f"{task}_{name}") for name in ("one", way))
    assert one.keys() == two.keys()
    assert list(one["state_dict"]) == list(two["state_dict"])
    for name, weights in one["state_dict"].items():
        assert type(two["state_dict"][name]) is torch.Tensor
        torch.testing.assert_close(two["state_dict"][name], weights, rtol=0, atol=TOLERANCE)

    ones, twos = one["optimizer"], two["optimizer"]
    assert ones["param_groups"] == twos["param_groups"]  # names, rates, decay
    groups = {group["group_name"]: group["weight_decay"] for group in twos["param_groups"]}
    assert groups["layer_0_decay"] > 0 == groups["layer_0_no_decay"]
    assert ones["state"].keys() == twos["state"].keys()
    for number, state in ones["state"].items():
        for name, value in state.items():
            assert type(twos["state"][number][name]) is torch.Tensor
            torch.testing.assert_close(
                twos["state"][number][name], value, rtol=1e-3, atol=TOLERANCE
            )


@pytest.mark.parametrize(
    ("name", "before"), [("fsdp_to_ddp", "fsdp"), ("ddp_to_fsdp", "ddp"), ("fsdp_to_one", "fsdp")]
)
def test_a_run_goes_on_in_another_way(name, before, work):
    same(mean_losses(work / name), mean_losses(work / "segmentation_one")[HALF:])
    start = saved(work / f"segmentation_{before}", HALF)["optimizer"]["state"][0]["exp_avg_sq"]
    end = saved(work / name)["optimizer"]["state"][0]
    assert end["step"] == ITERATIONS and not torch.equal(start, end["exp_avg_sq"])


@pytest.mark.parametrize(("way", "count"), [("one", 4), ("ddp", 2), ("fsdp", 2)])
def test_accumulated_gradients_are_those_of_the_whole_batch(way, count, work):
    losses = mean_losses(work / f"accumulated_{way}")
    steps = [losses[start : start + count] for start in range(0, len(losses), count)]
    same([sum(step) / count for step in steps], mean_losses(work / "segmentation_one"))


@pytest.mark.parametrize("mode", MODES)
def test_divided_blocks_recompute(mode, work):
    same(mean_losses(work / f"mode_{mode}"), mean_losses(work / "segmentation_one")[:5])


def test_gradients_are_clipped_by_the_norm_over_all_processes(work):
    losses = mean_losses(work / "clipped_one")
    same(mean_losses(work / "clipped_fsdp"), losses)
    unclipped = mean_losses(work / "segmentation_one")
    assert losses[-1] > unclipped[-1] + 0.01


def test_a_single_process_has_nobody_to_divide_with(command, capsys):
    assert main(command("segmentation", "never", "--fsdp")) == 2
    assert "--fsdp divides the model among processes, and this is one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("custom_hooks = [dict(type='EMAHook')]", "--fsdp: EMAHook copies the model"),
        ("runner_type = 'MyRunner'", "--fsdp needs runner_type='FlexibleRunner'"),
    ],
)
def test_what_needs_a_whole_model_is_refused(lines, said, tiny_config, shapes, tmp_path, capsys):
    config = str(tiny_config("segmentation", lines))
    arguments = ["train", config, "--data-root", str(shapes["segmentation"]), *LAUNCHED]
    assert main([*arguments, "--work-dir", str(tmp_path / "never"), "--fsdp"]) == 2
    assert said in capsys.readouterr().err
