"""What a gate costs in training, and what `integrate` costs beside a loop by hand: `python benchmarks/gates.py [--quick]`.

Asked: a training step (forward, backward, SGD) of a stage of nine blocks at 14x14x16, batch 128, takes less than 10 per cent
longer with SE and with StepNet (reconstruction) than with steps of 1; a stage through `integrate` writes as many results of
full size as the loop by hand and takes at most 3 per cent longer. Measured eager, by torch.compile, and for ResNet-20 of width
16 whose first stage has 14x14x16 (stem of stride 2 on 28x28). One thread, float32, processor seconds. All that is compared runs
in turns within a round; figures are medians over the rounds of the ratio within one, with quartiles. The allocator is told to
keep its memory (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_MAX_): else networks of different size in turns pay for pages that the one
before has given back. Writes results/gates/gates.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench.cost import FullSize, in_turns, ratio
from odebridge.bench.environment import environment
from odebridge.control.attention import ATTENTION
from odebridge.control.compose import PerStep
from odebridge.nets import PreActBranch, Stage, resnet
from odebridge.nets.gates import gates_of, per_block
from odebridge.train.optimisers import OPTIMISERS

HERE = Path(__file__).parent
KEPT = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_MMAP_MAX_": "0"}
CHANNELS, SIDE, BLOCKS, BATCH = 16, 14, 9, 128
PLAIN = "step 1"
BESIDE = (PLAIN, "se", "stepnet")  # those whose stage is also walked by hand


def stage(gate: str | None) -> Stage:
    """Nine basic blocks, the same first weights for every gate of one shape."""
    torch.manual_seed(0)
    blocks = [PreActBranch(CHANNELS) for _ in range(BLOCKS)]
    return Stage(blocks, per_block(gates_of(gate), CHANNELS, BLOCKS))


def network(gate: str | None) -> nn.Module:
    """ResNet-20 of width 16 for grey images of 28x28."""
    torch.manual_seed(0)
    return resnet(20, gate, 1, 10, 16, stem=2)


def by_hand(stage: Stage, x: Tensor) -> Tensor:
    """The stage as one would write it without a package."""
    gates = stage.controller.controllers if isinstance(stage.controller, PerStep) else None
    for i, block in enumerate(stage.field.blocks):
        f = block(x)
        x = x + f if gates is None else x + gates[i].gate(x, f) * f
    return x


def training(net: nn.Module, x: Tensor, forward: Callable[[Tensor], Tensor] | None = None) -> Callable[[], None]:
    """One step of training, as a function."""
    descent = OPTIMISERS["sgd"](net, 1e-3, 5e-4)
    run = net if forward is None else forward

    def step() -> None:
        run(x).square().mean().backward()
        descent.step()
        descent.zero_grad(set_to_none=True)

    return step


def gate_of(name: str) -> str | None:
    """What `resnet` calls it."""
    return None if name == PLAIN else name


def overheads(build: Callable[[str | None], nn.Module], x: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Training time of every gate over that of steps of 1."""
    took = in_turns({name: training(build(gate_of(name)), x) for name in (PLAIN, *ATTENTION)}, rounds)
    base = took[PLAIN]
    return [{"gate": name, "seconds": sorted(v)[len(v) // 2], **ratio(v, base)} for name, v in took.items()]


def compiled(x: Tensor, rounds: int) -> list[dict[str, Any]]:
    """The stage by torch.compile, training time over that of steps of 1 compiled."""
    runs = {}
    for name in (PLAIN, "constant", "se", "stepnet"):
        made = stage(gate_of(name))
        runs[name] = training(made, x, torch.compile(made))
    took = in_turns(runs, rounds)
    return [{"gate": name, "seconds": sorted(v)[len(v) // 2], **ratio(v, took[PLAIN])} for name, v in took.items()]


def count(stage: Stage, x: Tensor, forward: Callable[[Tensor], Tensor]) -> int:
    """Results of full size in one forward and backward pass."""
    stage.zero_grad(set_to_none=True)
    with FullSize(x.numel()) as cost:
        forward(x).square().mean().backward()
    return cost.count


def beside(name: str, x: Tensor, rounds: int) -> dict[str, Any]:
    """The stage through `integrate` beside the loop by hand: the same weights to start with, the same numbers after."""
    ours, hand = stage(gate_of(name)), stage(gate_of(name))

    def walk(v: Tensor) -> Tensor:
        return by_hand(hand, v)

    runs = {"ours": training(ours, x), "hand": training(hand, x, walk)}
    took = in_turns(runs, rounds)
    full = {"full_size": count(ours, x, ours), "full_size_by_hand": count(hand, x, walk)}
    return {"gate": name, **ratio(took["ours"], took["hand"]), **full}


def main() -> None:
    """All rows; `--quick`: few rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gates")
    given = parser.parse_args()
    if any(os.environ.get(k) != v for k, v in KEPT.items()):  # read once, when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEPT})
    rounds = 3 if given.quick else 24
    torch.set_num_threads(1)
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    images = torch.randn(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    rows = {
        "stage": overheads(stage, x, rounds),
        "network": overheads(network, images, rounds),
        "compiled stage": compiled(x, rounds),
        "integrate": [beside(name, x, rounds) for name in BESIDE],
    }
    for part, some in rows.items():
        for row in some:
            print(part, row, flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    page = {"command": "python benchmarks/gates.py", "environment": environment(), **rows}
    (given.out / "gates.json").write_text(json.dumps(page, indent=1) + "\n")


if __name__ == "__main__":
    main()
