"""The library's component-wise fields in JAX: the same formulas, not a second copy of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from odebridge.core.optional import optional
from odebridge.problems.base import Problem
from odebridge.problems.componentwise import Field


@cache
def libraries() -> tuple[Any, Any] | None:
    """The modules jax (in double precision) and diffrax, or None where one of them is not installed.

    Caveat: double precision is a setting of the whole process.
    """
    jax, diffrax = optional("jax"), optional("diffrax")
    if jax is None or diffrax is None:
        return None
    jax.config.update("jax_enable_x64", True)
    return jax, diffrax


def in_jax(problem: Problem) -> Callable[[Any, Any, Any], Any]:
    """f(t, y, args) of one system, y (n,), args (p,), for jit, vmap and automatic differentiation.

    Raises TypeError, in a sentence, for a field that is not made of formulas on components.
    """
    if not isinstance(problem.field, Field):
        raise TypeError(f"{problem.name or 'this problem'}: its field runs on PyTorch tensors only and has no form in JAX")
    if problem.mass is not None:
        raise TypeError(f"{problem.name or 'this problem'}: has a mass matrix, which diffrax does not take")
    return _made(problem.field.terms)


@cache
def _made(terms: Callable[..., Any]) -> Callable[[Any, Any, Any], Any]:
    found = libraries()
    assert found is not None
    jnp = found[0].numpy

    def field(t: Any, y: Any, args: Any) -> Any:
        values = terms(t, tuple(y), () if args is None else tuple(args))
        return jnp.stack([jnp.asarray(v, y.dtype) for v in values])

    return field
