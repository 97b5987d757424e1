"""RECIPES: variants by name; a new one is one recipe and one line here."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.baseline import RESNET
from odebridge.train.recipes.cde import CDE
from odebridge.train.recipes.cnf import CNF_RECIPE
from odebridge.train.recipes.corrected import HYPERSOLVER, NEURVEC
from odebridge.train.recipes.fixed_point import DEEP
from odebridge.train.recipes.hamiltonian import HNN
from odebridge.train.recipes.node import ANODE, NODE
from odebridge.train.recipes.reversible import HAMILTONIAN, LEAPFROG, MOMENTUM
from odebridge.train.recipes.second_order import GHBNODE, HBNODE, SONODE
from odebridge.train.recipes.series import LATENT_ODE, ODE_RNN
from odebridge.train.recipes.stiff import STIFF_NODE

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        RESNET,
        NODE,
        ANODE,
        SONODE,
        HBNODE,
        GHBNODE,
        HNN,
        MOMENTUM,
        LEAPFROG,
        HAMILTONIAN,
        DEEP,
        CNF_RECIPE,
        LATENT_ODE,
        ODE_RNN,
        CDE,
        STIFF_NODE,
        HYPERSOLVER,
        NEURVEC,
    )
}  # fmt: skip


def list_variants(pattern: str = "*") -> list[str]:
    """Names of the variants that match a wildcard pattern: `ob.train.list_variants("*node")`."""
    return matching(RECIPES, pattern)
