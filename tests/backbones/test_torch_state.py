from __future__ import annotations

import torch

from mmconvnext.backbones.torch_state import autocast_state


def test_autocast_is_told_in_the_words_of_old_versions_too(monkeypatch):
    with torch.autocast("cpu", dtype=torch.float16):
        assert autocast_state("cpu") == (torch.float16, True)
        monkeypatch.delattr(torch, "get_autocast_dtype")
        assert autocast_state("cpu") == (torch.float16, True)
        assert autocast_state("cuda")[1] is False
    assert autocast_state("cpu")[1] is False
