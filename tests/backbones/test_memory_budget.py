"""``recompute='auto'``: what it foretells is what autograd keeps, and it picks what fits."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmconvnext.backbones import ConvNeXt, free_memory
from mmconvnext.backbones.memory_budget import GIB, SHARE, ladder
from mmconvnext.backbones.recompute import MODES

STAGES = {"depths": [2, 1, 2, 1], "channels": [16, 32, 264, 288]}
KINDS = {
    "V1": {"arch": "atto"},
    "tiny": {"arch": "tiny"},
    "V2": {"arch": "atto", "use_grn": True},
    "wide": {"arch": STAGES},
    "convolutions": {"arch": "atto", "linear_pw_conv": False, "layer_scale_init_value": 0.0},
    "ReLU": {"arch": "atto", "act_cfg": {"type": "ReLU"}},
    "frozen": {"arch": "atto", "frozen_stages": 2},
    "dilated": {"arch": "atto", "output_stride": 8},
    "two maps": {"arch": "atto", "out_indices": (1, 2)},
}


def counted(net, image):
    """Bytes of distinct storages that autograd keeps, by their address."""
    parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outs = net(image)
    del outs
    return sum(storage.nbytes() for storage in storages.values())


def needs(image, autocast=False, **options):
    """What the network keeps in each mode, with this package's counting left out."""
    found = {}
    for mode in MODES:
        net = ConvNeXt(recompute=mode, **options)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found[mode] = counted(net, image)
    return found


def modes_of(net):
    found = [{block.recompute for block in stage} for stage in net.stages]
    assert all(len(modes) == 1 for modes in found)
    return tuple(modes.pop() for modes in found)


@pytest.fixture
def told():
    """Messages of mmengine's logger."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append((record.levelname, record.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_it_foretells_is_what_is_kept(kind, autocast):
    """A budget of what a mode keeps and a little more leads to that mode, one of less does not."""
    image = torch.randn(2, 3, 128, 160)
    for mode, kept in needs(image, autocast, **KINDS[kind]).items():
        enough, scarce = (
            ConvNeXt(recompute="auto", memory_budget=kept * part / GIB, **KINDS[kind])
            for part in (1.02, 0.97)
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            assert counted(enough, image) <= kept * 1.02
            left = counted(scarce, image)
        assert left <= kept * 0.97 or mode == "block"
        rungs = ladder(enough.out_indices[-1] + 1)
        last = len(rungs[0])
        assert rungs.index(modes_of(enough)[:last]) <= rungs.index((mode,) * last)


def test_each_rung_computes_more_and_keeps_less():
    rungs = ladder(3)
    assert rungs[0] == (None,) * 3 and rungs[-1] == ("block",) * 3
    assert rungs[1] == ("activation", None, None)
    assert rungs[4] == ("mlp", "activation", "activation")
    assert len(rungs) == len(set(rungs)) == 10
    for faster, slower in pairwise(rungs):
        assert [MODES.index(b) - MODES.index(a) for a, b in zip(faster, slower, strict=True)].count(
            1
        ) == 1
    image = torch.randn(1, 3, 64, 64)
    kept = []
    for rung in ladder(4):
        net = ConvNeXt(STAGES)
        for stage, mode in zip(net.stages, rung, strict=True):
            for block in stage:
                block.recompute = mode
        kept.append(counted(net, image))
    assert kept == sorted(kept, reverse=True)


def test_between_two_modes_the_first_stages_save_first():
    image = torch.randn(2, 3, 128, 128)
    kept = needs(image, arch="atto")
    between = (kept["activation"] + kept["mlp"]) / 2
    net = ConvNeXt("atto", recompute="auto", memory_budget=between / GIB)
    assert counted(net, image) <= between
    modes = modes_of(net)
    assert modes[0] == "mlp" and modes[-1] == "activation"


@pytest.mark.parametrize("part", [10.0, 0.5, 0.2, 0.01])
def test_gradients_are_those_of_the_network_without(part):
    image = torch.randn(2, 3, 64, 96)
    budget = part * needs(image, arch=STAGES)[None]
    grads = []
    for options in ({}, {"recompute": "auto", "memory_budget": budget / GIB}):
        torch.manual_seed(0)
        net = ConvNeXt(STAGES, drop_path_rate=0.4, layer_scale_init_value=0.5, **options)
        net.init_weights()
        torch.manual_seed(1)  # of drop path: picking must draw no numbers
        sum((out**3).mean() for out in net(image)).backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, expected in grads[0].items():
        assert (grads[1][name] - expected).norm() <= 1e-5 * expected.norm(), name
    assert (modes_of(net)[0] is None) == (part == 10.0)


def test_says_once_what_it_picked_and_again_only_when_pictures_ask_for_less(told):
    small, large = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 96, 96)
    kept = needs(small, arch="atto")
    net = ConvNeXt("atto", recompute="auto", memory_budget=kept[None] * 1.05 / GIB)
    for _ in range(2):
        net(small)
    assert modes_of(net) == (None,) * 4
    net(large)
    tight = modes_of(net)
    assert tight[0] is not None
    for image in (small, large, small):
        net(image)
    assert modes_of(net) == tight
    assert [level for level, _ in told] == ["INFO", "INFO"]
    line = told[0][1]
    assert line.startswith("recompute='auto' picked None, None, None, None for stages 1 to 4")
    assert "(1, 3, 64, 64)" in line and "(memory_budget)" in line and "\n" not in line
    assert f"None {kept[None] / GIB:.2f}, activation {kept['activation'] / GIB:.2f}" in line


def test_where_nothing_fits_it_takes_block_and_warns_once(told):
    net = ConvNeXt("atto", recompute="auto", memory_budget=1e-6)
    for side in (64, 96, 64):
        net(torch.randn(1, 3, side, side))
    assert modes_of(net) == ("block",) * 4
    assert [level for level, _ in told] == ["WARNING"]
    assert "nothing fits: take smaller batches" in told[0][1]


def test_without_gradients_nothing_is_picked(told):
    net = ConvNeXt("atto", recompute="auto", memory_budget=100)
    with torch.no_grad():
        net(torch.randn(1, 3, 64, 64))
    assert not told and modes_of(net) == ("block",) * 4
    net(torch.randn(1, 3, 64, 64))
    assert len(told) == 1 and modes_of(net) == (None,) * 4


def test_half_of_the_free_memory_without_what_comes_later_is_the_default(told, monkeypatch):
    monkeypatch.setattr("mmconvnext.backbones.memory_budget.free_memory", lambda device: 2 * GIB)
    net = ConvNeXt("atto", recompute="auto")
    net(torch.randn(1, 3, 64, 64))
    to_come = 12 * sum(p.numel() for p in net.parameters())
    budget = SHARE * (2 * GIB - to_come) / GIB
    assert f"budget {budget:.2f} GiB (50% of the 2.00 GiB free on cpu, without" in told[0][1]


def test_where_nobody_knows_what_is_free_it_takes_block_and_says_so(told, monkeypatch):
    monkeypatch.setattr("mmconvnext.backbones.memory_budget.free_memory", lambda device: None)
    net = ConvNeXt("atto", recompute="auto")
    net(torch.randn(1, 3, 64, 64))
    assert modes_of(net) == ("block",) * 4
    assert "free memory unknown on cpu, give memory_budget" in told[0][1]


def test_free_memory_is_what_the_system_and_the_container_leave(monkeypatch, tmp_path):
    cpu = torch.device("cpu")
    assert free_memory.free_memory(cpu) > 2**20
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900 kB\nMemFree: 100 kB\nMemAvailable:    700 kB\n")
    monkeypatch.setattr(free_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(free_memory, "_CONTAINER", tmp_path)
    assert free_memory.free_memory(cpu) == 700 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory.free_memory(cpu) == 700 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory.free_memory(cpu) == 4000
    meminfo.unlink()
    (tmp_path / "memory.max").unlink()
    assert free_memory.free_memory(cpu) > 2**20
    assert free_memory.free_memory(torch.device("meta")) is None


def test_compiled_it_keeps_what_was_picked_without_a_break_or_another_graph():
    image = torch.randn(2, 3, 64, 64)
    net = ConvNeXt("atto", recompute="auto", memory_budget=100)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    for picked in ("block", None):
        torch._dynamo.reset()
        graphs.clear()
        compiled = torch.compile(copy.deepcopy(net), backend=backend, fullgraph=True)
        for _ in range(3):
            sum(out.mean() for out in compiled(image)).backward()
        assert len(graphs) == 1
        assert modes_of(compiled._orig_mod) == (picked,) * 4
        net(image)


def test_leaves_nothing_in_the_cache_of_autocast_and_on_layers():
    """Weights cast for counting, without a gradient's way back, must not train."""
    net = ConvNeXt("atto", recompute="auto", memory_budget=100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(out.mean() for out in net(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_under_ddp_gradients_agree(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        torch.manual_seed(0)
        net = ConvNeXt("atto", recompute="auto", memory_budget=0.001)
        plain = ConvNeXt("atto")
        plain.load_state_dict(net.state_dict())
        wrapped = nn.parallel.DistributedDataParallel(net)
        image = torch.randn(2, 3, 64, 64)
        for _ in range(2):
            for network in (wrapped, plain):
                network.zero_grad()
                sum((out**3).mean() for out in network(image)).backward()
        for ours, expected in zip(net.parameters(), plain.parameters(), strict=True):
            assert (ours.grad - expected.grad).norm() <= 1e-5 * expected.grad.norm()
    finally:
        torch.distributed.destroy_process_group()


def test_on_a_gpu_it_counts_what_gpus_keep():
    """Fake tensors go where CUDA's would, without a GPU: no chunks, autocast of its own."""
    from mmconvnext.backbones.memory_budget import kept_by, measure

    with torch.device("meta"):
        net = ConvNeXt("atto")
    with FakeTensorMode():
        for module in net.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(value.shape, device="cuda"))
        image = torch.empty(1, 3, 128, 128, device="cuda")
        kept = measure(net, image)
    positions = 32 * 32 * 40 * 4
    none, activation = (kept_by(kept, (mode,) * 4, 128 * 128) for mode in MODES[:2])
    blocks = positions * (2 + 2 * 0.5 + 6 * 0.25 + 2 * 0.125)
    assert none - activation == pytest.approx(5 * blocks, rel=0.02)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"recompute": "auto", "with_cp": True}, "with_cp: expected False with recompute='auto'"),
        ({"recompute": "auto", "memory_budget": 0}, "memory_budget: expected more than 0"),
        ({"recompute": "auto", "memory_budget": float("nan")}, "memory_budget: expected more than"),
        ({"memory_budget": 3.0}, "memory_budget: expected recompute='auto' with it, found 3.0"),
        ({"recompute": "some"}, "recompute: expected one of None, 'activation', 'mlp', 'block'"),
        ({"recompute": "auto", "norm_cfg": {"type": "BN"}}, "norm_cfg: expected a norm without"),
    ],
)
def test_contradictions_are_told_in_one_line(options, line):
    with pytest.raises(ValueError, match="expected") as error:
        ConvNeXt("atto", **options)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
