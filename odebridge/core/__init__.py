"""The vocabulary: what a field, a method and a step controller are, and what a solve returns."""
