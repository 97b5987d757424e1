"""How many examples hypothesis draws: a few in the fast suite, always the same ones; many new ones with `pytest -m soak`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

LONG = False  # set by conftest.py before any test is imported


def drawn(few: int, many: int) -> settings:
    """Settings of a test. It must bear the mark `soak`, or nothing makes it long."""
    return settings(
        max_examples=many if LONG else few,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
