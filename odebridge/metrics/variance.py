"""Whom does a step size follow: the sample, the channel or the depth?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def variance_shares(steps: Sequence[Tensor | None]) -> dict[str, float] | None:
    """Of the variance of all step sizes: the shares between blocks, between channels of a block, and between samples.

    var a = var of block means + mean var of channel means in a block + mean var over samples in a channel, every number of
    every block with equal weight; the three add up to 1, and "sd" is the root of their sum. steps: `Profile.steps`, one tensor
    (b, *gate) a block, None where the gate is not ours. None where no gate was seen or all steps are equal. Source: law of
    total variance. Caveat: positions count as channels. Use: `variance_shares(profile(net, images).steps)["samples"]`.
    """
    sizes = [h.reshape(len(h), -1).double() for h in steps if h is not None]
    if not sizes:
        return None
    count = sum(h.numel() for h in sizes)
    mean = sum(float(h.sum()) for h in sizes) / count
    blocks = sum(h.numel() * (float(h.mean()) - mean) ** 2 for h in sizes) / count
    channels = sum(h.numel() * float(h.mean(0).var(correction=0)) for h in sizes) / count
    samples = sum(h.numel() * float(h.var(0, correction=0).mean()) for h in sizes) / count
    total = blocks + channels + samples
    if total < 1e-12:
        return None
    return {"samples": samples / total, "channels": channels / total, "blocks": blocks / total, "sd": math.sqrt(total)}
