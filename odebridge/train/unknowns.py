"""The parameters of a problem as one vector, some of them in logarithms."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.core.shapes import leaves, tree_map
from odebridge.problems.base import Problem


@dataclass(frozen=True, eq=False)
class Unknowns:
    """All numbers in the args of a problem, or in a field that is a module; those that are free, and how they are searched.

    start (p,) float64; names of all; free (f,) indices; logs (f,) bool: searched as logarithms.
    """

    problem: Problem
    start: Tensor
    names: tuple[str, ...]
    free: Tensor
    logs: Tensor

    @classmethod
    def of(cls, problem: Problem, only: Any, log: Any) -> Unknowns:
        """ValueError in a sentence for a problem without parameters, or names that are not there."""
        named = list(_named(problem))
        if not named:
            raise ValueError(
                "problem: has no parameters to fit: give it args, or a field that is an nn.Module with parameters."
            )
        start = torch.cat([v.detach().double().reshape(-1) for _, v in named])
        names = tuple(n for name, v in named for n in _numbered(name, v))
        free = _chosen(only, names)
        logs = _logs(log, start[free])
        return cls(problem, start, names, free, logs)

    def theta(self, p: Tensor) -> Tensor:
        """What is searched, (f,)."""
        v = p[self.free]
        return torch.where(self.logs, torch.where(self.logs, v, 1.0).log(), v)

    def numbers(self, theta: Tensor) -> Tensor:
        """All parameters (p,) at theta."""
        v = torch.where(self.logs, theta.clamp(-700.0, 700.0).exp(), theta)
        return self.start.index_put((self.free,), v)

    def slope(self, p: Tensor) -> Tensor:
        """Derivative d p / d theta of the free ones, (f,)."""
        return torch.where(self.logs, p[self.free], 1.0)

    def system(self, p: Tensor, b: int, *, grad: bool = False) -> tuple[Any, Any, list[Tensor]]:
        """Field, args (b, ...) and the tensors that the numbers are in: of each trajectory, or a module's own."""
        problem = self.problem
        if problem.args is None:
            field, at = copy.deepcopy(problem.field), 0
            tensors = list(field.parameters())  # type: ignore[attr-defined]
            with torch.no_grad():
                for v in tensors:
                    v.copy_(p[at : at + v.numel()].reshape(v.shape))
                    v.requires_grad_(grad)
                    at += v.numel()
            return field, None, tensors
        at, tensors = 0, []

        def place(v: Tensor) -> Tensor:
            nonlocal at
            count = v.numel()
            new = p[at : at + count].reshape(v.shape).to(v.dtype).expand(b, *v.shape).clone().requires_grad_(grad)
            at += count
            tensors.append(new)
            return new

        return problem.field, tree_map(place, _args(problem)), tensors

    def knobs(self) -> list[Any]:
        """How `Forward` names those tensors."""
        if self.problem.args is None:
            return [("field", name) for name, _ in self.problem.field.named_parameters()]  # type: ignore[attr-defined]
        return [("args", i) for i in range(len(leaves(self.problem.args)))]

    def gradient(self, tensors: Sequence[Tensor], p: Tensor) -> Tensor:
        """From the gradients of the tensors to that of theta, (f,)."""
        shared = self.problem.args is None
        parts = []
        for v in tensors:
            g = torch.zeros_like(v) if v.grad is None else v.grad
            parts.append((g if shared else g.sum(0)).double().reshape(-1))
        return torch.cat(parts)[self.free] * self.slope(p)


def _args(problem: Problem) -> Any:
    """Of one system; the trajectories of a batch must have the same."""
    if problem.single:
        return problem.args
    first = tree_map(lambda v: v[0], problem.args)
    for v in leaves(problem.args):
        if not bool((v == v[:1]).all()):
            raise ValueError(
                "problem: its trajectories have different args, and one set is fitted for all; start from the same ones."
            )
    return first


def _named(problem: Problem) -> Iterator[tuple[str, Tensor]]:
    if problem.args is None:
        if isinstance(problem.field, nn.Module):
            yield from problem.field.named_parameters()
        return
    yield from _walk("args", _args(problem))


def _walk(name: str, tree: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, dict):
        for key, v in tree.items():
            yield from _walk(str(key) if name == "args" else f"{name}.{key}", v)
    elif isinstance(tree, (tuple, list)):
        keys = getattr(tree, "_fields", range(len(tree)))
        for key, v in zip(keys, tree, strict=True):
            yield from _walk(str(key) if isinstance(key, str) and name == "args" else f"{name}[{key}]", v)


def _numbered(name: str, v: Tensor) -> list[str]:
    return [name] if v.dim() == 0 or v.numel() == 1 else [f"{name}[{i}]" for i in range(v.numel())]


def _chosen(only: Any, names: tuple[str, ...]) -> Tensor:
    """Indices of those that are fitted."""
    if only is None:
        return torch.arange(len(names))
    if isinstance(only, (str, int)):
        only = [only]
    found: list[int] = []
    for one in only:
        if isinstance(one, int) and not isinstance(one, bool) and -len(names) <= one < len(names):
            found.append(one % len(names))
            continue
        mine = [i for i, name in enumerate(names) if name == one or name.startswith(f"{one}[")]
        if not mine:
            raise ValueError(f"only: there is no parameter {one!r}; choose among {', '.join(names[:20])}.")
        found += mine
    if not found:
        raise ValueError("only: is empty; name at least one parameter, or leave it out to fit all.")
    return torch.tensor(sorted(set(found)))


def _logs(log: Any, start: Tensor) -> Tensor:
    if log is None:
        return start > 0
    logs = torch.as_tensor(log, dtype=torch.bool).expand(len(start)).clone()
    if bool((logs & (start <= 0)).any()):
        raise ValueError("log: only parameters that start above 0 can be searched as logarithms.")
    return logs
