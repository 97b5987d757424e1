"""RECIPES: variants by name; a new one is one recipe and one line here."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.cde import CDE
from odebridge.train.recipes.cnf import CNF_RECIPE
from odebridge.train.recipes.corrected import HYPERSOLVER, NEURVEC
from odebridge.train.recipes.node import NODE
from odebridge.train.recipes.series import LATENT_ODE, ODE_RNN
from odebridge.train.recipes.stiff import STIFF_NODE

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        NODE,
        HYPERSOLVER,
        NEURVEC,
        STIFF_NODE,
        CNF_RECIPE,
        CDE,
        ODE_RNN,
        LATENT_ODE,
    )
}  # fmt: skip


def list_variants(pattern: str = "*") -> list[str]:
    """Names of the variants that match a wildcard pattern: `ob.train.list_variants("*node")`."""
    return matching(RECIPES, pattern)
