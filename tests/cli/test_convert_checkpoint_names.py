"""Converting checkpoints: every layout in, three layouts out, in both kinds of file, exact."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file
from sample_checkpoints import (
    FCMAE,
    TIMM_CLASSIFIER,
    WITH_GRN,
    assert_same,
    foreign,
    line,
    maps,
    network,
    randomised,
    run,
    sparse,
    weights_in,
    write,
)

from mmconvnext.checkpoints.formats import AUTHORS, FORMATS, Format
from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.checkpoints.translating import from_native, to_native
from mmconvnext.cli.convert_checkpoint import TARGETS


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("known", "grn"),
    [(f, grn) for f in FORMATS for grn in (False, True) if not grn or f.name in WITH_GRN],
    ids=lambda value: value.first_kernel if isinstance(value, Format) else f"V{value + 1}",
)
def test_every_format_becomes_ours(known, grn, kind, tmp_path, capsys):
    native = network(use_grn=grn)
    theirs = foreign(native.state_dict(), known)
    source = write(tmp_path / f"theirs.{kind}", theirs)
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"ours{suffix}"
        assert run(source, path) == 0
        found = weights_in(path)
        assert_same(found, {key: native.state_dict()[key] for key in found})
        assert len(found) == len(theirs)
        assert known.name in capsys.readouterr().out
        nets = network(1, use_grn=grn), network(1, use_grn=grn)
        for net, file in zip(nets, (source, path), strict=True):
            load_pretrained_backbone(net, str(file))
        for one, other in zip(maps(nets[0]), maps(nets[1]), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("kinds", [("pth", "safetensors"), ("safetensors", "pth")])
@pytest.mark.parametrize("grn", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_round_trip_is_exact(target, grn, kinds, tmp_path):
    weights = network(use_grn=grn).state_dict()
    source = write(tmp_path / f"native.{kinds[0]}", weights)
    there, back = tmp_path / f"there.{kinds[1]}", tmp_path / f"back.{kinds[0]}"
    assert run(source, there, "--to", target) == 0
    assert run(there, back) == 0
    left_out = "norm" if target == "timm" else "nothing"
    assert_same(weights_in(back), {k: v for k, v in weights.items() if not k.startswith(left_out)})


@pytest.mark.parametrize("name", ["convnext_atto", "convnextv2_atto", "convnext_wide", "v2_wide"])
def test_timm_itself_takes_and_gives(name, tmp_path, capsys):
    sizes = {"depths": (1, 1, 1, 1), "dims": (96, 8, 8, 8)}
    if name == "convnext_wide":
        model = timm.models.convnext.ConvNeXt(**sizes)
    elif name == "v2_wide":
        model = timm.models.convnext.ConvNeXt(**sizes, use_grn=True, ls_init_value=None)
    else:
        model = timm.create_model(name)
    theirs = {key: value.clone() for key, value in randomised(model).state_dict().items()}
    source = tmp_path / "timm.pth"
    torch.save(theirs, source)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    assert run(source, ours) == 0
    out = capsys.readouterr().out
    assert "dropped, classifier: 2 (head.fc.weight, head.fc.bias)" in out
    assert "dropped, norm before the classifier: 2 (head.norm.weight, head.norm.bias)" in out
    assert run(ours, back, "--to", "timm") == 0
    missing, unexpected = model.load_state_dict(load_file(back), strict=False)
    assert (set(missing), unexpected) == (set(TIMM_CLASSIFIER), [])
    assert_same(load_file(back), {k: v for k, v in theirs.items() if k not in TIMM_CLASSIFIER})


def test_pointwise_layers_have_the_shapes_of_timms_own_models():
    from mmconvnext.checkpoints.converting import _LINEAR_FROM

    for name in timm.list_models("convnext*"):
        if name == "convnext_tiny_hnf":  # an experiment, of which ConvNeXt-T is the usual form
            continue
        with torch.device("meta"):
            weights = timm.create_model(name).state_dict()
        narrow = weights["stages.0.blocks.0.conv_dw.weight"].shape[0] < _LINEAR_FROM
        assert weights["stages.0.blocks.0.mlp.fc1.weight"].ndim == (4 if narrow else 2), name


@pytest.mark.parametrize(
    ("target", "final"), [("authors", ("norm.weight", "norm.bias")), ("timm", TIMM_CLASSIFIER[:2])]
)
def test_a_classifier_stays_under_its_own_names(target, final, tmp_path, capsys):
    known = AUTHORS if target == "authors" else next(f for f in FORMATS if f.name == "timm")
    weights = {k: v for k, v in network().state_dict().items() if not k.startswith("norm")}
    theirs = from_native(weights, known) | {key: torch.ones(16) for key in final}
    theirs |= {f"head.{'fc.' if target == 'timm' else ''}weight": torch.ones(5, 16)}
    source = write(tmp_path / "theirs.pth", {f"net.{k}": v for k, v in theirs.items()})
    assert run(source, tmp_path / "same.safetensors", "--to", target) == 0
    assert_same(load_file(tmp_path / "same.safetensors"), theirs)
    assert "dropped" not in capsys.readouterr().out
    assert run(source, tmp_path / "ours.safetensors") == 0
    assert_same(load_file(tmp_path / "ours.safetensors"), weights)


def test_where_the_authors_code_looks(tmp_path):
    source = write(tmp_path / "native.safetensors", network().state_dict())
    assert run(source, tmp_path / "theirs.pth", "--to", "authors") == 0
    assert list(torch.load(tmp_path / "theirs.pth", weights_only=True)) == ["model", "meta"]


def test_names_that_timm_lacks_are_told(tmp_path, capsys):
    source = write(tmp_path / "native.pth", network().state_dict())
    assert run(source, tmp_path / "timm.pth", "--to", "timm") == 0
    reason = "dropped, norms of the outputs, which timm has not: 8 (norm0.weight, "
    assert reason in capsys.readouterr().out


HEADS = {
    "neck.convs.0.weight": torch.arange(6.0).reshape(2, 3),
    "bbox_head.bn.num_batches_tracked": torch.tensor(3),
    "data_preprocessor.mean": torch.zeros(3, dtype=torch.float64),
    "head.fc.weight": torch.ones(2, 2),
}
WHOLE = [
    ("mmpretrain", "backbone."),
    ("timm", "backbone.timm_model."),
    ("the authors'", "backbone."),
    ("transformers", "segmentor.backbone."),
]


@pytest.mark.parametrize(("name", "prefix"), WHOLE)
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_whole_model_keeps_its_other_parts(name, prefix, kind, tmp_path, capsys):
    known = next(f for f in FORMATS if f.name == name)
    weights = network().state_dict()
    theirs = foreign(weights, known)
    source = write(
        tmp_path / "model.pth", {prefix + key: value for key, value in theirs.items()} | HEADS
    )
    kept = {k: v for k, v in weights.items() if name != "timm" or not k.startswith("norm")}
    start = prefix.partition("backbone.")[0] + "backbone."
    ours = tmp_path / f"ours.{kind}"
    assert run(source, ours) == 0
    assert_same(weights_in(ours), {start + key: value for key, value in kept.items()} | HEADS)
    assert f"{name}, under {prefix[:-1]}\n{ours}: whole model, " in capsys.readouterr().out
    alone = tmp_path / f"alone.{kind}"
    assert run(source, alone, "--backbone-only") == 0
    assert_same(weights_in(alone), kept)
    assert "dropped, not part of the backbone: 3 (neck.convs.0" in capsys.readouterr().out


def test_a_whole_model_keeps_what_the_backbone_has_besides(tmp_path, capsys):
    more = {"backbone.extra.weight": torch.ones(1)}
    final = {"backbone.norm.weight": torch.ones(16), "backbone.head.weight": torch.ones(16)}
    ours = {"backbone." + key: value for key, value in network().state_dict().items()} | more
    source = write(tmp_path / "model.pth", ours | final)
    assert run(source, tmp_path / "ours.pth") == 0
    assert_same(weights_in(tmp_path / "ours.pth"), ours)
    assert "dropped, classifier: 1 (backbone.head.weight)" in capsys.readouterr().out
    assert run(source, tmp_path / "authors.pth", "--to", "authors") == 0
    assert_same(weights_in(tmp_path / "authors.pth"), ours | final)


def test_timm_gets_the_backbone_only(tmp_path, capsys):
    weights = {"backbone." + key: value for key, value in network().state_dict().items()}
    source = write(tmp_path / "detector.pth", weights | HEADS)
    assert run(source, tmp_path / "timm.pth", "--to", "timm") == 0
    assert "not part of the backbone: 3 (neck.convs" in capsys.readouterr().out
    assert {key.split(".")[0] for key in weights_in(tmp_path / "timm.pth")} == {"stem", "stages"}


def test_student_and_teacher_are_both_converted(tmp_path, capsys):
    known = next(f for f in FORMATS if f.name == "mmpretrain")
    pair = {"teacher.": network(0).state_dict(), "student.": network(1).state_dict()}
    theirs = {
        f"{who}backbone.{key}": value
        for who, weights in pair.items()
        for key, value in foreign(weights, known).items()
    }
    source = write(tmp_path / "pair.pth", theirs)
    assert run(source, tmp_path / "ours.pth") == 0
    expected = {f"{who}backbone.{k}": v for who, w in pair.items() for k, v in w.items()}
    assert_same(weights_in(tmp_path / "ours.pth"), expected)
    assert "under student.backbone; mmpretrain, under teacher" in capsys.readouterr().out
    option = ["--prefix", "teacher.backbone", "--backbone-only"]
    assert run(source, tmp_path / "one.pth", *option) == 0
    assert_same(weights_in(tmp_path / "one.pth"), pair["teacher."])


def test_a_bare_student_is_taken_alone(tmp_path, capsys):
    student = network(1).state_dict()
    theirs = {f"student.{k}": v for k, v in student.items()}
    theirs |= {f"teacher.{k}": v for k, v in network(0).state_dict().items()}
    assert run(write(tmp_path / "pair.pth", theirs), tmp_path / "ours.pth") == 0
    assert_same(weights_in(tmp_path / "ours.pth"), student)
    out = capsys.readouterr().out
    assert "under student\n" in out
    assert f"not part of the backbone: {len(student)} (teacher." in out


def test_several_networks_need_a_prefix(tmp_path, capsys):
    weights = {f"{n}.{k}": v for n in "ab" for k, v in network().state_dict().items()}
    source = write(tmp_path / "two.pth", weights)
    assert run(source, tmp_path / "one.pth") == 2
    assert "expected one network, found 2, under 'a.', 'b.'; say which with --prefix" in line(
        capsys
    )
    assert run(source, tmp_path / "one.pth", "--prefix", "b") == 0
    assert_same(weights_in(tmp_path / "one.pth"), network().state_dict())


@pytest.mark.parametrize("place", ["state_dict_ema", "model_ema"])
def test_averaged_weights(place, tmp_path, capsys):
    averaged = {f"module.{key}": value for key, value in network(1).state_dict().items()}
    content = {"model": network(0).state_dict(), place: averaged}
    torch.save(content, tmp_path / "both.pth")
    assert run(tmp_path / "both.pth", tmp_path / "ema.pth", "--ema") == 0
    assert_same(weights_in(tmp_path / "ema.pth"), network(1).state_dict())
    assert "left out: model\n" in capsys.readouterr().out
    assert run(tmp_path / "ema.pth", tmp_path / "again.pth", "--ema") == 2
    assert "take the trained ones, without --ema" in line(capsys)


def test_the_sparse_layout_of_these_tests_is_undone():
    weights = {"downsample_layers.1.1.weight": torch.arange(24.0).reshape(2, 3, 2, 2)}
    theirs = dict(sparse(key, value) for key, value in weights.items())
    assert theirs["downsample_layers.1.1.kernel"].shape == (4, 3, 2)
    assert_same(to_native(theirs, FCMAE, "").weights, weights)


def test_the_command_knows_the_targets():
    from mmconvnext.checkpoints import converting

    assert tuple(converting.TARGETS) == TARGETS
