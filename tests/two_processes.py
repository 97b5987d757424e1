"""Trains a small network with GroupNorm; started alone or by torchrun, see test_parallel.py. Arguments: batch size, file."""

import sys
from dataclasses import replace

import torch
from torch import nn

from odebridge.data import digits
from odebridge.train import fit
from odebridge.train.parallel import launched


def main(batch_size: int, path: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    ).double()  # fmt: skip
    data = digits()
    data = replace(data, train_x=data.train_x[:256].double(), train_y=data.train_y[:256], test_x=data.test_x.double())
    with launched("cpu") as (world, device):
        history = fit(net, data, epochs=2, batch_size=batch_size, lr=0.05, device=device, ema=0.9, clip=1.0)
        if world.rank == 0:
            torch.save({"loss": history.train_loss, "score": history.test_accuracy, "weights": net.state_dict()}, path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
