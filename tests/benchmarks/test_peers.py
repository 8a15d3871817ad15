from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmconvnext.backbones import ConvNeXt
from mmconvnext.benchmarks import peers
from mmconvnext.benchmarks.peers import AUTHORS, peer_networks

# What is called for of the authors' file; its network is one of ours.
THEIRS = """
from mmconvnext.backbones import ConvNeXt as Ours

class ConvNeXt(Ours):
    def __init__(self, depths, dims, drop_path_rate, layer_scale_init_value):
        arch = dict(depths=depths, channels=dims)
        super().__init__(arch, drop_path_rate=drop_path_rate)
"""


class Without:
    """An import finder where there is no mmpretrain."""

    def find_spec(self, name: str, *others: object) -> None:
        if name.partition(".")[0] == "mmpretrain":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def ours() -> ConvNeXt:
    torch.manual_seed(0)
    return ConvNeXt("atto", layer_scale_init_value=0.5).train()


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_PEERS", {})


def checkout(folder: Path, code: str) -> Path:
    (folder / "models").mkdir()
    (folder / "models" / "convnext.py").write_text(code)
    return folder


def test_timm_and_torchvision_give_what_ours_gives() -> None:
    torch.manual_seed(0)
    ours = ConvNeXt("tiny", layer_scale_init_value=0.5).train()
    found, missing = peer_networks(ours)
    assert {"timm", "torchvision"} <= {*found}
    assert ours.training and not any(network.training for network in found.values())
    assert {row.name for row in missing} | {*found} == {*peers._PEERS, AUTHORS}
    assert "--authors DIR" in next(row.note for row in missing if row.name == AUTHORS)


@pytest.mark.usefixtures("no_peers")
def test_the_authors_file_is_executed_and_gets_our_weights(ours: ConvNeXt, tmp_path: Path) -> None:
    found, missing = peer_networks(ours, drop_path=0.3, authors=checkout(tmp_path, THEIRS))
    assert not missing and list(found) == [AUTHORS]
    weights = {n: v for n, v in ours.state_dict().items() if not n.startswith("norm")}
    theirs = found[AUTHORS].state_dict()
    assert theirs.keys() == weights.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in weights.items())
    assert len(found[AUTHORS](torch.zeros(1, 3, 32, 32))) == 4


@pytest.mark.usefixtures("no_peers")
def test_a_peer_with_other_maps_is_no_peer(ours: ConvNeXt, tmp_path: Path) -> None:
    other = THEIRS + "        self.stages[3][1].register_forward_hook(lambda m, i, o: o + i[0])\n"
    with pytest.raises(RuntimeError, match="the authors' code: expected maps within"):
        peer_networks(ours, authors=checkout(tmp_path, other))


@pytest.mark.usefixtures("no_peers")
def test_the_authors_file_without_its_packages_is_a_row(ours: ConvNeXt, tmp_path: Path) -> None:
    folder = checkout(tmp_path, "import no_such_package\n")
    found, missing = peer_networks(ours, authors=folder)
    assert not found
    assert missing[0].note == f"{AUTHORS} cannot be imported: No module named 'no_such_package'"


def test_mmpretrain_is_a_row_where_it_is_missing_or_broken(
    ours: ConvNeXt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_PEERS", {"mmpretrain": peers._PEERS["mmpretrain"]})
    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
        assert peer_networks(ours)[1][0].note == "mmpretrain is not installed"
    (tmp_path / "mmpretrain").mkdir()
    (tmp_path / "mmpretrain" / "__init__.py").write_text("class Network(None): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    note = peer_networks(ours)[1][0].note
    assert note.startswith("mmpretrain cannot be imported: NoneType takes no arguments")
