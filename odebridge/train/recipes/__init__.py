"""Recipes: how each variant of the neural ODE is built, on which data, and with which settings it trains."""

from __future__ import annotations

from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.catalogue import RECIPES, list_variants

__all__ = ["RECIPES", "Recipe", "list_variants"]
