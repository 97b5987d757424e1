"""Data sets that are at hand: nothing is downloaded."""

from __future__ import annotations

from odebridge.data.base import Images
from odebridge.data.catalogue import DATA, list_data
from odebridge.data.digits import digits
from odebridge.data.fashion import fashion_mnist
from odebridge.data.idx import read_idx

__all__ = ["DATA", "Images", "digits", "fashion_mnist", "list_data", "read_idx"]
