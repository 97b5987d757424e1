"""The 8x8 digits that come inside scikit-learn."""

from __future__ import annotations

import torch

from odebridge.data.base import Images, shuffled, standardised

TEST = 360  # a fifth of the 1797


def digits(seed: int = 0) -> Images:
    """1437 training and 360 test images of handwritten digits, (1, 8, 8), split by the seed alone.

    Source: E. Alpaydin & C. Kaynak, UCI optdigits, as embedded in scikit-learn (BSD-3). Caveat: both halves come from the same
    writers, so the accuracy is that of an easy test. Use: `data = digits()`.
    """
    from sklearn.datasets import load_digits  # slow to import: 0.8 s that few users need

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(pixels).reshape(-1, 1, 8, 8), torch.from_numpy(labels).long()
    order = shuffled(len(x), seed)
    test, train = order[:TEST], order[TEST:]
    train_x, test_x = standardised(x[train], x[test])
    return Images(train_x, y[train], test_x, y[test], classes=10, name="digits")
