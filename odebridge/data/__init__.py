"""Data sets that are at hand, read or made by our own solvers: nothing is downloaded."""

from __future__ import annotations

from odebridge.data.base import DataSet, Images, Points, Series
from odebridge.data.catalogue import DATA, IMAGES, list_data
from odebridge.data.cifar import cifar10, cifar100
from odebridge.data.digits import digits
from odebridge.data.fashion import fashion_mnist
from odebridge.data.folder import image_folder, imagenet
from odebridge.data.idx import read_idx
from odebridge.data.kinetics import pollu, robertson
from odebridge.data.motion import lotka_volterra, pendulum, spirals
from odebridge.data.plane import annuli, moons
from odebridge.data.shapes import shapes
from odebridge.data.springs import spring_chain
from odebridge.data.stl import stl10

__all__ = [
    "DATA", "IMAGES", "DataSet", "Images", "Points", "Series", "annuli", "cifar10", "cifar100", "digits", "fashion_mnist",
    "image_folder", "imagenet", "list_data", "lotka_volterra", "moons", "pendulum", "pollu", "read_idx", "robertson", "shapes",
    "spirals", "spring_chain", "stl10",
]  # fmt: skip
