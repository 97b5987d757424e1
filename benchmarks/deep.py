"""Has a residual network of 164 layers a larger NSI with SE gates than without: `python benchmarks/deep.py --device cuda`.

The claim is of ResNet-164 on CIFAR-100; this is the nearest that can be had with data that Debian has: Fashion-MNIST, all its
training images, first convolution at stride 2, a few epochs. For every seed the networks have the same first weights and the
same batches, and differ in their gates alone. A row for every training, written as soon as it is finished; those that a file
has are not made again. Trainings run side by side, since a network this deep is bound by the launch of kernels.
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from odebridge.bench import paired
from odebridge.bench.environment import commit, versions
from odebridge.metrics import profile
from odebridge.train import fit

OUT = Path(__file__).parent / "results" / "deep" / "results.jsonl"
SETTINGS = paired.Settings("fashion-mnist", None, depth=164, width=16, stem=2, epochs=5, batch_size=512, lr=0.03, probes=512)
QUICK = replace(SETTINGS, data="digits", depth=20, width=8, stem=1, epochs=1)


def trained(settings: paired.Settings, controller: str, seed: int, device: str) -> dict[str, Any]:
    """One row: accuracy, mean NSI of every block over the first test images, and the seconds that it took."""
    torch.set_num_threads(1)
    net, data = paired.build(settings, controller, seed), paired.images(settings.data, settings.train)
    history = fit(
        net, data, epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, optimiser="muon",
        schedule="onecycle", weight_decay=0.0, device=device, seed=seed, precision="bf16" if device == "cuda" else "fp32",
    )  # fmt: skip
    seen = profile(net, data.test_x[: settings.probes].to(device))
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {
        "controller": controller, "seed": seed, "ended": history.ended, "accuracy": history.test_accuracy[-1],
        "train_loss": history.train_loss[-1], "seconds": round(history.seconds, 1), "tns": float(seen.tns.mean()),
        "nsi": [round(v, 6) for v in seen.nsi.mean(0).tolist()], "settings": settings.about(), "device": where,
        "versions": versions(), "commit": commit(),
    }  # fmt: skip


def told(rows: list[dict[str, Any]]) -> list[str]:
    """For every gate: its accuracy and TNS, and in how many blocks its NSI is above that of the plain network, by seeds."""
    by = {(r["controller"], r["seed"]): r for r in rows}
    lines = []
    for controller in dict.fromkeys(r["controller"] for r in rows):
        mine = [r for r in rows if r["controller"] == controller]
        accuracy, tns = [r["accuracy"] for r in mine], [r["tns"] for r in mine]
        line = f"{controller}: accuracy {_range(accuracy, 100)} %, TNS {_range(tns)} ({len(mine)} seeds)"
        pairs = [(r, by["fixed", r["seed"]]) for r in mine if controller != "fixed" and ("fixed", r["seed"]) in by]
        if pairs:
            shares = [statistics.mean(a > b for a, b in zip(r["nsi"], p["nsi"], strict=True)) for r, p in pairs]
            line += f"; NSI above the plain network's in {_range(shares, 100)} % of {len(pairs[0][0]['nsi'])} blocks"
        lines.append(line)
    return lines


def _range(values: list[float], times: float = 1.0) -> str:
    values = [times * v for v in values]
    return f"{statistics.mean(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def main() -> None:
    """All trainings that the file lacks, then what they say."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--controllers", default="fixed,se,stepnet")
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    asked.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    asked.add_argument("--out", type=Path, default=OUT)
    asked.add_argument("--quick", action="store_true", help="digits and 20 layers: does it run")
    given = asked.parse_args()
    settings = QUICK if given.quick else SETTINGS
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    had = {(r["controller"], r["seed"]) for r in rows if r["settings"] == settings.about()}
    todo = [(c, s) for s in range(given.seeds) for c in given.controllers.split(",") if (c, s) not in had]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool, given.out.open("a") as file:
        for future in as_completed([pool.submit(trained, settings, c, s, given.device) for c, s in todo]):
            row = future.result()
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{row['controller']}, seed {row['seed']}: {row['accuracy']:.4f} in {row['seconds']} s", flush=True)
    print(*told(sorted(rows, key=lambda r: r["seed"])), sep="\n")


if __name__ == "__main__":
    main()
