"""Two budgets for the fuzz tests: ``quick`` with the same examples each time, ``long`` with ones of
its own in each round of ``make fuzz``."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

COMMON = {
    "database": None,
    "deadline": None,
    "print_blob": True,
    # Files are written and networks built: slow is what an example is.
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("quick", derandomize=True, **COMMON)
settings.register_profile("long", derandomize=False, **COMMON)
settings.load_profile(os.environ.get("MMCONVNEXT_FUZZ", "quick"))


@pytest.fixture(autouse=True)
def tensors_in_short():
    """An example that fails is told with all that was drawn."""
    torch.set_printoptions(threshold=3, edgeitems=1)
    yield
    torch.set_printoptions(profile="default")
