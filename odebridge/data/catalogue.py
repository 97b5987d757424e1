"""DATA: data sets by name; a new one is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable

from odebridge.core.names import matching
from odebridge.data.base import DataSet, Images
from odebridge.data.cifar import cifar10, cifar100
from odebridge.data.digits import digits
from odebridge.data.fashion import fashion_mnist
from odebridge.data.folder import image_folder, imagenet
from odebridge.data.kinetics import pollu, robertson
from odebridge.data.motion import lotka_volterra, pendulum, spirals
from odebridge.data.plane import annuli, moons
from odebridge.data.shapes import shapes
from odebridge.data.springs import spring_chain
from odebridge.data.stl import stl10

IMAGES: dict[str, Callable[..., Images]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "shapes": shapes,
    "cifar-10": cifar10,
    "cifar-100": cifar100,
    "stl-10": stl10,
    "imagenet": imagenet,
    "image-folder": image_folder,
}
DATA: dict[str, Callable[..., DataSet]] = {
    **IMAGES,
    "annuli": annuli,
    "moons": moons,
    "spirals": spirals,
    "pendulum": pendulum,
    "lotka-volterra": lotka_volterra,
    "spring-chain": spring_chain,
    "robertson": robertson,
    "pollu": pollu,
}


def list_data(pattern: str = "*") -> list[str]:
    """Names of the data sets that match a wildcard pattern: `ob.list_data("fashion*")`; `DATA[name]()` reads or makes one."""
    return matching(DATA, pattern)
