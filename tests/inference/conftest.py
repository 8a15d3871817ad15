from __future__ import annotations

from pathlib import Path

import pytest
from sample_models import save_model

CONFIGS = Path(__file__).parents[1] / "cli" / "configs"
DEMO = Path(__file__).parents[2] / "configs" / "demo"
# The detector with masks, and the segmentor.
CONFIG_OF = {
    "detection": DEMO / "cascade_convnext_shapes.py",
    "segmentation": CONFIGS / "tiny_segmentation.py",
}


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Config and checkpoint of each task; the checkpoint names no classes."""
    root = tmp_path_factory.mktemp("models")
    return {
        task: (config, save_model(config, root / f"{task}.pth"))
        for task, config in CONFIG_OF.items()
    }
