"""A backbone whose ``init_cfg`` may name a file of weights of any layout that is known."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule


class PretrainedBackbone(BaseModule):
    """mmengine's module, which never keeps random weights where it was to load some."""

    init_cfg: Any  # mmengine has no types
    _is_init: bool

    def init_weights(self) -> None:
        """As mmengine's, but a pretrained file may have any layout that this package knows.

        Raises:
            ValueError: ``init_cfg`` names no file, or the file does not fit this network.
        """
        from mmconvnext.checkpoints.loading import is_pretrained, pretrained_options

        init_cfg = self.init_cfg
        files = pretrained_options(init_cfg)
        if self._is_init or not files:
            super().init_weights()
            return
        try:
            cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
            self.init_cfg = [cfg for cfg in cfgs if not is_pretrained(cfg)]
            super().init_weights()
        finally:
            self.init_cfg = init_cfg
        self._is_init = False  # until the file is in: a failure must not pass for weights
        for options in files:
            self.load_pretrained(**options)
        self._is_init = True

    def load_pretrained(self, checkpoint: str, **options: Any) -> None:
        """Load a file that ``init_cfg`` names, with its further options."""
        raise NotImplementedError
