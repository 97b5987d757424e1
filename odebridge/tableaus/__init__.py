"""Coefficients as data, with their references, and the order conditions that check them."""
