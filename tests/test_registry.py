"""The registries are filled at ``import mmconvnext``, and what takes long comes when it is used.

Each script is a process of its own: in this one everything is imported already.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mmconvnext

FROM_THE_ROOT = """
import sys, copy, inspect, pickle, mmconvnext
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

assert "mmengine.model" not in sys.modules
assert "ConvNeXt" in MODELS
early = MODELS.get("ConvNeXt")
network = MODELS.build(dict(type="ConvNeXt", arch="atto"))
assert type(network) is mmconvnext.ConvNeXt is MODELS.get("ConvNeXt")
assert isinstance(network, early) and issubclass(mmconvnext.ConvNeXt, early)
assert not isinstance(1, early) and not issubclass(int, early)
assert copy.deepcopy({"type": early})["type"] is mmconvnext.ConvNeXt
assert pickle.loads(pickle.dumps(early)) is mmconvnext.ConvNeXt
assert early.init_weights is mmconvnext.ConvNeXt.init_weights

class Own(early):
    pass

assert Own.__mro__[1] is mmconvnext.ConvNeXt
name = "LayerDecayOptimWrapperConstructor"
assert OPTIM_WRAPPER_CONSTRUCTORS.get(name) is mmconvnext.LayerDecayOptimWrapperConstructor
print("fine")
"""

LATER = """
import mmconvnext
from mmengine.registry import HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, Registry

own = Registry("model", parent=MODELS, scope="own")
import mmengine.optim
name = "LayerDecayOptimWrapperConstructor"
assert isinstance(OPTIM_WRAPPER_CONSTRUCTORS.module_dict[name], type)
import mmengine.runner
assert isinstance(MODELS.module_dict["ConvNeXt"], type)
assert own.get("ConvNeXt") is own.get("mmconvnext.ConvNeXt") is mmconvnext.ConvNeXt
assert HOOKS.get("mmconvnext.ProgressBarHook") is HOOKS.get("ProgressBarHook")
print("fine")
"""

AFTER_MMENGINE = """
import mmengine.runner, mmconvnext
from mmengine.registry import MODELS
assert isinstance(MODELS.module_dict["ConvNeXt"], type)
print("fine")
"""

TAKEN = """
from mmengine.registry import MODELS

@MODELS.register_module()
class ConvNeXt:
    pass

import mmconvnext, mmengine.model
assert MODELS.get("ConvNeXt") is ConvNeXt is not mmconvnext.ConvNeXt
assert MODELS.get("mmconvnext.ConvNeXt") is mmconvnext.ConvNeXt
print("fine")
"""

NAMES = """
import mmconvnext
before = dir(mmconvnext)
assert {*mmconvnext.__all__, "backbones", "inference", "optim", "registry"} <= set(before)
for name in before:
    getattr(mmconvnext, name)
assert mmconvnext.backbones.ConvNeXt is mmconvnext.ConvNeXt
from mmconvnext import *
assert Predictor is mmconvnext.Predictor and optimize_for_inference.__module__
assert not hasattr(mmconvnext, "Nothing")
print("fine")
"""

MODULE_FIRST = """
from mmconvnext.{module} import {name}
import mmconvnext, mmengine.registry
assert mmengine.registry.{registry}.get("{name}") is {name} is mmconvnext.{name}
print("fine")
"""


@pytest.mark.parametrize(
    "code",
    [
        FROM_THE_ROOT,
        LATER,
        AFTER_MMENGINE,
        TAKEN,
        NAMES,
        MODULE_FIRST.format(module="backbones.convnext", name="ConvNeXt", registry="MODELS"),
        MODULE_FIRST.format(
            module="optim",
            name="LayerDecayOptimWrapperConstructor",
            registry="OPTIM_WRAPPER_CONSTRUCTORS",
        ),
    ],
    ids=["root", "later", "after_mmengine", "taken", "names", "backbone_first", "optim_first"],
)
def test_in_a_new_process(code: str, tmp_path: Path) -> None:
    lines = f"import sys; sys.path.insert(0, {str(Path(mmconvnext.__file__).parents[1])!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", lines], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "fine", done.stderr
