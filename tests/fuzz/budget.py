"""How many examples a fuzz test tries."""

from __future__ import annotations

from hypothesis import settings

_ROUND = 10  # times as many in a round of `make fuzz`


def examples(quick: int) -> int:
    """``quick`` in ``make test``, more in ``make fuzz``."""
    return quick * (_ROUND if settings.get_current_profile_name() == "long" else 1)
