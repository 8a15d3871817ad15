from __future__ import annotations

import pytest
from sample_models import save_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    return save_models(tmp_path_factory.mktemp("models"))
