"""What the tests of checkpoints share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def save(tmp_path):
    def write(content, name="weights.pth", **kwargs) -> str:
        torch.save(content, tmp_path / name, **kwargs)
        return str(tmp_path / name)

    return write
