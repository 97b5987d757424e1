"""`profile` and `refine` on networks of torchvision and timm, where they are installed, and on blocks of their structure."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odebridge.metrics import Profile, compare, profile, refine
from odebridge.nets import resnet


def found(library: str) -> Any:
    """The library, or the test is left out: a build for another PyTorch fails in its own ways."""
    try:
        return importlib.import_module(library)
    except Exception as error:
        pytest.skip(f"{library} cannot be used here: {type(error).__name__}")


class Post(nn.Module):
    """A bottleneck of torchvision's structure, with another activation after its sum."""

    def __init__(self, c: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c // 4, 1, bias=False), nn.BatchNorm2d(c // 4)
        self.conv2, self.bn2 = nn.Conv2d(c // 4, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        out += x
        return self.act(out)


class Dense(nn.Module):
    """Same shape in and out, an activation at its end, and no skip."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(c, c, 3, 1, 1), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish, nn.Identity, nn.LeakyReLU])
def test_blocks_with_any_activation_after_the_sum(activation: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv2d(3, 8, 3), Post(8, activation), Dense(8), Post(8, activation)), torch.randn(2, 3, 8, 8)
    assert profile(net, x).names == ("1", "3")
    net.eval()
    torch.testing.assert_close(refine(net, 1, images=x)(x), net(x))
    assert not torch.equal(refine(net, 2, images=x)(x), net(x))


NETS = {
    ("torchvision", "resnet18"): 5,
    ("torchvision", "resnet50"): 12,
    ("torchvision", "mobilenet_v2"): 10,
    ("torchvision", "convnext_tiny"): 18,
    ("timm", "seresnet18"): 5,
    ("timm", "convnext_atto"): 12,
}


@pytest.mark.parametrize(("library", "name"), list(NETS))
def test_published_networks_are_profiled_and_refined(library: str, name: str) -> None:
    torch.manual_seed(0)
    build = found("torchvision.models") if library == "torchvision" else found("timm")
    net = getattr(build, name)(weights=None) if library == "torchvision" else build.create_model(name, pretrained=False)
    x = torch.randn(2, 3, 64, 64)
    seen = profile(net, x)
    assert len(seen.names) == NETS[library, name]
    assert torch.isfinite(seen.nsi).all()
    assert (seen.nsi > 0).all()
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(refine(net, 1, images=x)(x), net(x), rtol=1e-3, atol=1e-4)
        assert torch.isfinite(refine(net, 2, images=x)(x)).all()


def test_several_networks_in_one_picture() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 1, 8, 8)
    plain, gated = (profile(resnet(20, gate, 1, 10, 4), x) for gate in (None, "se"))
    figure = compare({"plain": plain, "SE": gated}, "two")
    (axes,) = figure.axes
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2 * 2 * 3  # smallest and largest, of two networks, in three stages
    assert dashed[0].get_ydata().tolist() == pytest.approx(plain.nsi[:, :3].amin(0).tolist())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain", "SE"]
    assert gated.variance is not None
    assert gated.variance["samples"] + gated.variance["channels"] + gated.variance["blocks"] == pytest.approx(1.0)
    assert plain.variance is None
    with pytest.raises(ValueError, match="the same blocks"):
        compare({"a": plain, "b": Profile(("x",), plain.nsi[:, :1], (None,))})
    with pytest.raises(ValueError, match="the same blocks"):
        compare({})
