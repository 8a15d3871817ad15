from __future__ import annotations

import json

import pytest
from sample_coco import annotations


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> tuple[dict, str]:
    """Annotations and their file, shared: not to be changed by a test."""
    made = annotations()
    file = tmp_path_factory.mktemp("coco") / "instances.json"
    file.write_text(json.dumps(made))
    return made, str(file)
