"""Shared by all tests: one thread, since two on a busy machine are slower than one; `-m soak` makes the drawn tests long."""

import pytest
import torch

from tests import soak

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    soak.LONG = config.getoption("markexpr") == "soak"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if soak.LONG:
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))
