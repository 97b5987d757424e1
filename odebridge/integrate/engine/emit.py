"""Programs of scalars as C++ for `kernel.hpp`: one statement a scalar, on vectors of trajectories."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from odebridge.integrate.engine.scalars import Scalar, Unsupported, reachable

TYPES = {"f64": "V", "f32": "F", "i64": "I", "b": "I"}
BROADCAST = {"f64": "vd", "f32": "vf", "i64": "vi", "b": "vi"}
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
PLAIN = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0}


@dataclass
class Writer:
    """Writes the statements for some outputs.

    inputs: how the program's inputs are spelled. table: where numbers of the user's go that are not among the plainest, so
    that another value of a constant is another table and not another program; None: into the program.
    """

    inputs: Callable[[Scalar], str]
    table: list[float] | None = None
    names: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def write(self, outputs: list[Scalar]) -> list[str]:
        """The statements are appended to `lines`; returns how the outputs are spelled."""
        rare = [s for s in reachable(outputs) if s.op == "instead" and id(s) not in self.names]
        if rare:
            self._rare(rare, outputs)
        self._plain(outputs)
        return [self.names[id(s)] for s in outputs]

    def _plain(self, outputs: list[Scalar]) -> None:
        for s in reachable(outputs):
            if id(s) not in self.names:
                self.names[id(s)] = self._name(s)

    def _rare(self, rare: list[Scalar], outputs: list[Scalar]) -> None:
        """What is there instead where a mask holds, and all that only it needs, under one `if`."""
        mask = rare[0].args[0]
        everywhere = {id(s) for s in reachable(outputs, lambda s: (s.args[0], s.args[2]) if s.op == "instead" else s.args)}
        inside = [s for s in reachable([s.args[1] for s in rare]) if id(s) not in everywhere]
        given = [a for s in inside for a in s.args if id(a) in everywhere]
        before = [mask, *(s.args[2] for s in rare), *given]
        if any(s.args[0] is not mask for s in rare) or any(s.op == "instead" for s in (*reachable(before), *inside)):
            raise Unsupported("it asks for second tries that depend on each other")
        self._plain(before)
        for s in rare:
            self.names[id(s)] = f"v{s.number}"
            self.lines.append(f"{TYPES[s.kind]} v{s.number} = {self.names[id(s.args[2])]};")
        self.lines.append(f"if (any({self.names[id(mask)]})) {{")
        self._plain([s.args[1] for s in rare])
        for s in rare:
            a, b = (self.names[id(v)] for v in (mask, s.args[1]))
            self.lines.append(f"v{s.number} = sel({a}, {b}, v{s.number});")
        self.lines.append("}")

    def _name(self, s: Scalar) -> str:
        if s.op == "const":
            return self._number(s)
        if s.op == "input":
            return self.inputs(s)
        if s.op == "item":
            return f"{self.names[id(s.args[0])]}{s.value}"
        name = f"v{s.number}"
        if s.op == "call":
            self.lines.append(s.value.statement([self.names[id(a)] for a in s.args], name))
            return name
        self.lines.append(f"const {TYPES[s.kind]} {name} = {self._expression(s, [self.names[id(a)] for a in s.args])};")
        return name

    def _number(self, s: Scalar) -> str:
        if s.kind == "b":
            return "vi(-1)" if s.value else "vi(0)"
        if s.kind == "i64":
            return f"vi({s.value}LL)"
        v = float(s.value)
        if self.table is not None and math.isfinite(v) and abs(v) not in PLAIN:
            self.table.append(v)
            return f"{BROADCAST[s.kind]}(C[{len(self.table) - 1}])"
        spelled = "NAN" if math.isnan(v) else ("INFINITY" if v > 0 else "-INFINITY") if math.isinf(v) else repr(v)
        return f"{BROADCAST[s.kind]}({spelled})"

    @staticmethod
    def _expression(s: Scalar, a: list[str]) -> str:
        if s.op in INFIX:
            return f"{a[0]} {INFIX[s.op]} {a[1]}"
        if s.op in COMPARE:
            return f"mask({a[0]} {COMPARE[s.op]} {a[1]})"
        if s.op == "neg":
            return f"-{a[0]}"
        if s.op == "not":
            return f"~{a[0]}"
        if s.op == "where":
            return f"sel({', '.join(a)})"
        if s.op == "cast":
            value = f"(-{a[0]})" if s.args[0].kind == "b" else a[0]
            return f"to_{ {'f64': 'd', 'f32': 'f', 'i64': 'i'}[s.kind] }({value})"
        return f"v{s.op}({', '.join(a)})"
