"""Shared by all tests: one thread, since two on a busy machine are slower than one; `-m soak` makes the drawn tests long."""

from collections.abc import Generator
from typing import Any

import pytest
import torch

from tests import kernels, soak

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    soak.LONG = config.getoption("markexpr") == "soak"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if soak.LONG:
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))


def _skipped_without_kernels() -> Generator[None, Any, Any]:
    """On an old torch a test that compiles is skipped by the very warning that tells the eager loop runs instead."""
    try:
        return (yield)
    except RuntimeWarning as warned:
        if kernels.fallback(warned):
            pytest.skip(str(warned))
        raise


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    return (yield from _skipped_without_kernels())


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, Any, Any]:
    return (yield from _skipped_without_kernels())
