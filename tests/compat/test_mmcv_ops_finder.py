import importlib
import inspect
import os
import pickle
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import _mmconvnext_ops_finder
from mmconvnext.compat import mmcv_ops

FINDER = Path(_mmconvnext_ops_finder.__file__)
ROOT = Path(mmcv_ops.__file__).parents[3]
PROMISED = [
    "nms",
    "softnms",
    "nms_match",
    "roi_align_forward",
    "roi_align_backward",
    "roi_pool_forward",
    "roi_pool_backward",
    "sigmoid_focal_loss_forward",
    "sigmoid_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softmax_focal_loss_backward",
    "deform_conv_forward",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "modulated_deform_conv_forward",
    "modulated_deform_conv_backward",
    "ms_deform_attn_forward",
    "ms_deform_attn_backward",
    "carafe_forward",
    "carafe_backward",
    "carafe_naive_forward",
    "carafe_naive_backward",
    "masked_im2col_forward",
    "masked_col2im_forward",
    "psamask_forward",
    "psamask_backward",
    "get_compiler_version",
    "get_compiling_cuda_version",
]


def run(code, *paths, site=True, **environment):
    """Run ``code`` in a fresh interpreter; returns its exit status, its output and its errors."""
    variables = {k: v for k, v in os.environ.items() if k != "MMCONVNEXT_OPS"} | environment
    variables["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths)
    options = ["-W", "ignore"] if site else ["-W", "ignore", "-S"]
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=variables,
        cwd=Path(__file__).parent,  # which is searched first, and has none of the packages
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def finders():
    return [f for f in sys.meta_path if type(f).__name__ == "OperatorsFinder"]


@pytest.fixture
def clean_path(monkeypatch):
    """``sys.meta_path`` without a finder of ours, restored afterwards."""
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f not in finders()])


@pytest.fixture
def extension(monkeypatch):
    """A filled ``mmcv._ext``, whether the environment's own is compiled or not."""
    module = ModuleType("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", None)
    mmcv_ops.populate(module)
    monkeypatch.setitem(sys.modules, "mmcv._ext", module)
    return module


def write(folder, **sources):
    """Write ``name="source"`` as packages ``name`` into ``folder``."""
    for name, source in sources.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(source)


def test_mmdet_and_mmseg_import_with_nothing_but_the_finder():
    code = (
        "import _mmconvnext_ops_finder, mmdet.utils, mmdet.models, mmseg.models\n"
        "from mmcv.ops import get_compiler_version\n"
        "print(get_compiler_version())"
    )
    status, output, errors = run(code, ROOT)
    assert status == 0, errors
    assert output  # a compiled mmcv's own or ours


def test_mmcv_cnn_can_be_the_first_import_and_gets_its_operators():
    code = (
        "import _mmconvnext_ops_finder, mmcv.cnn\n"
        "from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention\n"
        "print('ok')"
    )
    status, output, errors = run(code, ROOT)
    assert (status, output) == (0, "ok"), errors


def test_switched_off_by_the_environment_even_if_mmconvnext_is_imported(tmp_path):
    code = (
        "import sys, mmconvnext, _mmconvnext_ops_finder\n"
        "print(any(type(f).__name__ == 'OperatorsFinder' for f in sys.meta_path))\n"
        "import mmcv._ext"
    )
    write(tmp_path, mmcv="")
    status, output, errors = run(code, tmp_path, ROOT, MMCONVNEXT_OPS="0")
    assert (status, output) == (1, "False")
    assert errors.endswith("ModuleNotFoundError: No module named 'mmcv._ext'")


def test_a_compiled_extension_is_left_alone_and_nothing_is_loaded(tmp_path):
    write(tmp_path, mmcv="")
    (tmp_path / "mmcv" / "_ext.py").write_text("compiled = True")
    code = (
        "import _mmconvnext_ops_finder, mmcv._ext, sys\n"
        "print(mmcv._ext.compiled, 'mmconvnext' in sys.modules, 'torch' in sys.modules)"
    )
    assert run(code, tmp_path, FINDER.parent)[:2] == (0, "True False False")


def test_importing_the_finder_loads_no_other_module():
    code = (
        "import sys; sys.modules.pop('_mmconvnext_ops_finder', None); before = set(sys.modules)\n"
        "import _mmconvnext_ops_finder\n"
        "print(sorted(set(sys.modules) - before - {'__future__'}))"
    )
    assert run(code, FINDER.parent)[1] == "['_mmconvnext_ops_finder']"


def test_a_broken_mmconvnext_is_named_in_one_line(tmp_path):
    write(tmp_path, mmcv="", mmconvnext="raise RuntimeError('torchvision is broken')")
    code = "import _mmconvnext_ops_finder, mmcv._ext"
    status, _, errors = run(code, tmp_path, FINDER.parent, site=False)
    last = errors.splitlines()[-1]
    assert status == 1
    assert last.startswith("ModuleNotFoundError: mmcv._ext: mmcv has no compiled operators")
    assert "(RuntimeError: torchvision is broken)" in last
    assert "MMCONVNEXT_OPS=0" in last


def test_a_vanished_mmconvnext_is_named_in_one_line(tmp_path):
    write(tmp_path, mmcv="")
    (tmp_path / FINDER.name).write_text(FINDER.read_text())
    code = "import _mmconvnext_ops_finder, mmcv._ext"
    status, _, errors = run(code, tmp_path, site=False)
    assert status == 1
    assert "(ModuleNotFoundError: No module named 'mmconvnext')" in errors.splitlines()[-1]


def test_installing_twice_or_reloading_adds_one_finder_at_the_end(clean_path):
    mmcv_ops.install()
    mmcv_ops.install()
    importlib.reload(_mmconvnext_ops_finder)
    assert len(finders()) == 1
    assert sys.meta_path[-1] is finders()[0]


def test_installing_honours_the_environment(clean_path, monkeypatch):
    monkeypatch.setenv("MMCONVNEXT_OPS", "0")
    mmcv_ops.install()
    assert finders() == []


@pytest.mark.parametrize("name", ["mmcv", "_ext", "mmcv._ext.nms", "mmcv.ops", "other._ext"])
def test_the_finder_ignores_every_other_name(name):
    finder = _mmconvnext_ops_finder.OperatorsFinder()
    assert finder.find_spec(name, None) is None
    assert finder.find_spec("mmcv._ext", None).name == "mmcv._ext"


def test_every_promised_operator_is_provided_once(extension):
    provided = mmcv_ops.operators()
    assert set(PROMISED) <= set(provided)
    listed = [
        operator.__name__
        for name in mmcv_ops.MODULES
        for operator in importlib.import_module(f"{mmcv_ops.__name__}.{name}").OPERATORS
    ]
    assert sorted(listed) == sorted(provided)
    assert all(vars(extension)[name] is operator for name, operator in provided.items())


def test_a_missing_operator_names_itself_when_called_and_not_before(extension):
    operator = extension.border_align_forward
    with pytest.raises(NotImplementedError) as caught:
        operator(1, pool_size=2)
    message = str(caught.value)
    assert "\n" not in message
    assert "'border_align_forward'" in message
    assert "compiled mmcv" in message


def test_private_names_are_no_operators(extension):
    for name in ("__wrapped__", "__path__", "__deepcopy__", "_private"):
        assert not hasattr(extension, name)
    with pytest.raises(AttributeError, match=r"'mmcv\._ext' has no attribute '_private'"):
        extension._private  # noqa: B018


def test_operators_and_their_stand_ins_survive_pickle_and_inspection(extension):
    for operator in (extension.nms, extension.border_align_forward):
        assert pickle.loads(pickle.dumps(operator)) is operator
        assert inspect.signature(operator).parameters
    assert inspect.getsourcefile(extension) == mmcv_ops.__file__
    assert extension.__spec__.origin == mmcv_ops.__file__
