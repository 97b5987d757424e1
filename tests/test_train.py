"""The training loop and its checkpoints."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from odebridge.data import Images, digits
from odebridge.nets import flow_map, resnet
from odebridge.train import Epoch, evaluate, fit, fit_loss, load_checkpoint, save_checkpoint
from odebridge.train.loop import _augmented
from odebridge.train.optimisers import SCHEDULES, Muon, orthogonalised
from odebridge.train.state import Keep


@pytest.fixture(scope="module")
def data() -> Images:
    return digits()


def small(data: Images, n: int = 256) -> Images:
    return replace(data, train_x=data.train_x[:n], train_y=data.train_y[:n])


def net(gate: str | None = "stepnet") -> nn.Module:
    torch.manual_seed(0)
    return resnet(14, gate, 1, 10, width=8)


@pytest.mark.parametrize("gate", [None, "stepnet"])
def test_digits_are_learned_in_seconds(data: Images, gate: str | None) -> None:
    shown: list[Epoch] = []
    model = net(gate)
    history = fit(model, data, epochs=5, device="cpu", progress=shown.append)
    assert history.ended == "done"
    assert history.test_accuracy[-1] > 0.9
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert tuple(shown) == history.epochs
    assert [e.number for e in shown] == [1, 2, 3, 4, 5]
    assert evaluate(model, data.test_x, data.test_y) == history.test_accuracy[-1]
    assert evaluate(model, data.test_x, data.test_y, batch_size=7) == pytest.approx(history.test_accuracy[-1])
    assert history.test_loss == ()


def test_a_seed_is_a_run(data: Images) -> None:
    runs = [fit(net(), small(data), epochs=2, batch_size=64, device="cpu", seed=s, augment=True) for s in (3, 3, 4)]
    assert runs[0].train_loss == runs[1].train_loss != runs[2].train_loss


SETTINGS = {
    "muon": dict(optimiser="muon", lr=0.03),
    "adamw, bf16, channels_last": dict(optimiser="adamw", lr=1e-2, precision="bf16", channels_last=True),
    "fp16": dict(precision="fp16"),
    "clip, smooth": dict(clip=1.0, label_smoothing=0.1),
    "ema": dict(ema=0.9),
    "steps": dict(schedule="steps", weight_decay=1e-4),
    "mixup": dict(mixup=0.2),
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_setting_trains_and_goes_on_after_a_kill(data: Images, name: str, tmp_path: Path) -> None:
    settings = dict(epochs=3, batch_size=32, device="cpu", **SETTINGS[name])
    whole = net("se")
    history = fit(whole, small(data), **settings)
    assert history.ended == "done"
    assert history.test_accuracy[-1] > 0.3  # chance: 0.1
    killed, keep = net("se"), Keep(tmp_path / "state", every=0.0)

    class Kill(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        if epoch.number == 3:
            raise Kill

    with pytest.raises(Kill):
        fit(killed, small(data), keep=keep, progress=kill, **settings)
    resumed = net("se")
    again = fit(resumed, small(data), keep=replace(keep, resume=True), **settings)
    assert again.train_loss == history.train_loss
    for k, v in whole.state_dict().items():
        assert torch.equal(v, resumed.state_dict()[k]), k


def test_parts_of_a_batch_make_the_same_step(data: Images) -> None:
    def trained(parts: int) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
        images = replace(small(data), train_x=data.train_x[:256].double(), test_x=data.test_x.double())
        fit(model, images, epochs=1, batch_size=64, device="cpu", accumulate=parts)
        return model

    one, three = trained(1), trained(3)
    torch.testing.assert_close(one[1].weight, three[1].weight, rtol=1e-9, atol=1e-12)


def test_the_average_of_the_weights_is_what_is_tested_and_kept(data: Images) -> None:
    model, seen = net(), []
    history = fit(model, data, epochs=2, device="cpu", ema=0.99, progress=lambda e: seen.append(e.test_score))
    assert evaluate(model, data.test_x, data.test_y) == history.test_accuracy[-1] == seen[-1]
    plain = net()
    fit(plain, data, epochs=2, device="cpu")
    assert not torch.equal(plain.head[-1].weight, model.head[-1].weight)


def test_muon_moves_along_matrices_with_equal_singular_values() -> None:
    torch.manual_seed(0)
    wide = torch.randn(6, 20) @ torch.diag(torch.logspace(0, -1, 20))
    for matrix in (wide, wide.T):
        values = torch.linalg.svdvals(orthogonalised(matrix))
        assert ((values > 0.6) & (values < 1.3)).all()
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        kept = u.T @ orthogonalised(matrix) @ v.T  # the singular vectors are those of the matrix
        assert (kept - torch.diag(kept.diagonal())).abs().max() < 1e-3
    p = nn.Parameter(torch.zeros(4, 3, 3, 3))
    p.grad = torch.randn(p.shape)
    muon = Muon([p], lr=0.1)
    muon.step()
    size = torch.linalg.svdvals(p.detach().flatten(1)) / 0.1
    assert ((size > 0.6) & (size < 1.3)).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(precision="bf17"), "bf16"), (dict(accumulate=0), "accumulate"), (dict(clip=-1.0), "clip"), (dict(ema=1.0), "ema"),
        (dict(accumulate=99, batch_size=8), "accumulate"), (dict(mixup=-0.1), "mixup"),
        (dict(label_smoothing=1.0), "smoothing"), (dict(optimiser="moon"), "muon"), (dict(schedule="stepps"), "steps"),
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused(data: Images, settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(net(), small(data), device="cpu", **settings)


def test_a_loss_that_is_not_finite_is_a_result(data: Images) -> None:
    bad = replace(data, train_x=torch.full_like(data.train_x, math.nan))
    history = fit(net(), bad, epochs=2, device="cpu")
    assert history.ended == "not finite"
    assert "lower lr" in history.message
    assert history.epochs == ()


def test_time_budget_stops_and_still_scores(data: Images) -> None:
    history = fit(net(), data, epochs=1000, time_budget=0.2, device="cpu")
    assert history.ended == "time budget"
    assert 0 < len(history.epochs) < 1000
    assert 0.0 <= history.test_accuracy[-1] <= 1.0
    assert history.seconds < 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "adam"}, "'adamw'"),
        ({"schedule": "cosin"}, "'cosine'"),
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"lr": -1.0}, "lr must"),
        ({"lr": math.nan}, "lr must"),
    ],
)
def test_settings_are_checked(data: Images, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(net(), small(data), device="cpu", **settings)


def test_schedules() -> None:
    assert SCHEDULES["none"](0.7) == 1.0
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["onecycle"](0.0) == pytest.approx(0.04)
    assert SCHEDULES["onecycle"](0.3) == pytest.approx(1.0)
    assert SCHEDULES["onecycle"](1.0) == pytest.approx(0.0, abs=1e-12)


def test_augmentation_shifts_and_mirrors_whole_images() -> None:
    x = torch.zeros(2000, 1, 16, 16)
    x[:, :, 8, 3] = 1.0
    out = _augmented(x, True, torch.Generator().manual_seed(0))
    assert out.shape == x.shape
    places = {tuple(p) for p in out[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(i, j) for i in range(6, 11) for j in (*range(1, 6), *range(10, 15))}
    assert (out.sum((1, 2, 3)) == 1).all()
    still = _augmented(x, False, torch.Generator().manual_seed(0))
    assert set(still[:, 0].nonzero()[:, 2].tolist()) == set(range(1, 6))


def test_flow_map_of_a_rotation_is_learned() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 2)
    turn = torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]])
    history = fit_loss(
        flow_map(2, 4, 32, "stepnet", lift=8),
        x[:200],
        x[:200] @ turn,
        test=(x[200:], x[200:] @ turn),
        epochs=150,
        lr=1e-2,
        device="cpu",
    )
    assert history.ended == "done"
    assert history.test_loss[-1] < 0.01
    assert history.test_accuracy == ()
    batches = fit_loss(flow_map(2, 2, 8), x, x, epochs=2, batch_size=100, device="cpu", optimiser="sgd")
    assert math.isnan(batches.test_loss[0])
    with pytest.raises(ValueError, match="pairs"):
        fit_loss(flow_map(2), x, x[:3])


def test_checkpoint_round_trip_and_previous(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "model.json"
    first, second = net(), net(None)
    record = {"epoch": 1, "loss": 0.1 + 0.2, "names": ["a", "ä"], "nested": {"none": None}, "at": {"10": math.inf, "9": -1.0}}
    assert save_checkpoint(path, first.state_dict(), record) == path
    tensors, loaded = load_checkpoint(path)
    assert loaded == record
    assert tensors.keys() == first.state_dict().keys()
    assert all(torch.equal(v, tensors[k]) and v.dtype == tensors[k].dtype for k, v in first.state_dict().items())

    save_checkpoint(path, second.state_dict(), {"epoch": 2})
    assert load_checkpoint(path)[1] == {"epoch": 2}
    assert load_checkpoint(path, previous=True)[1] == record
    save_checkpoint(path, {"x": torch.ones(2)}, {"epoch": 3})
    assert load_checkpoint(path, previous=True)[1] == {"epoch": 2}
    assert len(list(path.parent.glob("*.safetensors"))) == 2
    assert not list(path.parent.glob(".*"))


def test_checkpoint_record_with_numbers_for_keys(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.json", {}, {"score": {10: 1, 9: 2}, "pair": (1, 2)})
    assert load_checkpoint(tmp_path / "a.json")[1] == {"score": {"10": 1, "9": 2}, "pair": [1, 2]}


def test_checkpoint_of_tied_and_strided_tensors(tmp_path: Path) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "a", {"x": x, "tied": x, "turned": x.T})
    tensors, record = load_checkpoint(tmp_path / "a")
    assert record == {}
    assert torch.equal(tensors["turned"], x.T)
    assert torch.equal(tensors["tied"], x)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    save_checkpoint(path, {"x": torch.arange(4.0)}, {"epoch": 1})
    for file in (path, next(tmp_path.glob("*.safetensors"))):
        good = file.read_bytes()
        for i in range(len(good)):
            file.write_bytes(good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :])
            with pytest.raises((ValueError, FileNotFoundError), match=file.name.split(".")[0]):
                load_checkpoint(path)
        file.write_bytes(good[:-3])
        with pytest.raises(ValueError, match="damaged"):
            load_checkpoint(path)
        file.write_bytes(good)
    assert load_checkpoint(path)[1] == {"epoch": 1}


def test_a_damaged_checkpoint_does_not_push_out_the_good_one(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    for epoch in (1, 2):
        save_checkpoint(path, {"x": torch.full((2,), float(epoch))}, {"epoch": epoch})
    path.write_bytes(path.read_bytes().replace(b'"epoch": 2', b'"epoch": 9'))
    with pytest.raises(ValueError, match="previous=True"):
        load_checkpoint(path)
    save_checkpoint(path, {"x": torch.zeros(2)}, {"epoch": 3})
    assert load_checkpoint(path)[1] == {"epoch": 3}
    tensors, record = load_checkpoint(path, previous=True)
    assert record == {"epoch": 1}
    assert tensors["x"].tolist() == [1.0, 1.0]


def test_a_crash_while_writing_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.json"
    save_checkpoint(path, {"x": torch.zeros(2)}, {"epoch": 1})

    def full(_handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"x": torch.ones(2)}, {"epoch": 2})
    assert load_checkpoint(path)[1] == {"epoch": 1}
    assert not list(tmp_path.glob(".*"))


def test_a_forged_page_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    save_checkpoint(path, {"x": torch.zeros(2)})
    page = json.loads(path.read_text())
    page["tensors"] = "../secret.safetensors"
    path.write_text(json.dumps(page))
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)


def test_missing_checkpoint_and_unfit_record(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.json")
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a.json", {}, {"x": object()})
    assert not list(tmp_path.iterdir())
