"""The text of a kernel, for the CPU and for CUDA: the same functions and the same try between the headers of the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from odebridge.integrate.engine.emit import TYPES

HEADERS = {"cpu": ("vectors.hpp", "maths.hpp", "exp.hpp"), "cuda": ("numbers.hpp", "maths.hpp")}
SMALL = 8  # components up to which CUDA gets no loops over them
LOOPS = {"cpu": "loop.hpp", "cuda": "grid.hpp"}
NO_MEMORY = (
    "struct Memory { DEVICE void load(const double *, int64_t, int) {} DEVICE void store(double *, int64_t, int) const {} };"
)


@dataclass(frozen=True)
class Text:
    """What the generator has written."""

    kind: str  # of the numbers of a state
    n: int
    functions: tuple[str, ...]  # the user's, and their derivatives
    statements: tuple[str, ...]  # of one try
    kept: int  # numbers of a trajectory, of which
    read_only: int  # come first
    outs: int
    result: int | None  # where the code of the trajectory stands
    newton: bool
    held: tuple[str, tuple[int, ...]] | None  # the function that makes J, and which entries; None: nothing is kept

    def __call__(self, target: str) -> str:
        """The whole text for "cpu" (with -DW=lanes) or "cuda" (with -DBLOCK=threads, or -DHOST)."""
        body = "\n  ".join(self.statements)
        memory = [NO_MEMORY]
        if self.held is not None:
            slopes, places = self.held
            table = f"constexpr int AT[] = {{{', '.join(map(str, places or [0]))}}};"
            memory = [
                f"constexpr int ENTRIES = {len(places)};", f"INL constexpr int at(int k) {{ {table} return AT[k]; }}",
                f"#define SLOPES {slopes}", header("held.hpp"),
            ]  # fmt: skip
        return "\n".join([
            "#define SMALL" if self.n <= SMALL else "", *map(header, HEADERS[target]), f"typedef {TYPES[self.kind]} T;",
            f"constexpr int N = {self.n}, KEPT = {self.kept}, FIXED = {self.read_only}, OUTS = {self.outs};",
            f"constexpr int RESULT = {self.result};",
            *self.functions, header("newton.hpp") if self.newton else "", *memory,
            f"INL void attempt(V *s, V *o, Memory &m, const void *const *U, const double *C) {{\n  {body}\n}}",
            header(LOOPS[target]),
        ])  # fmt: skip


@cache
def header(name: str) -> str:
    """One of the files of C++ beside this one."""
    return files("odebridge.integrate.engine").joinpath(name).read_text(encoding="utf-8")
