"""Files whose checksum is right and whose content is not: laws, checkpoints and states of trainings that were made up."""

import hashlib
import json

import pytest
import torch
from torch import nn

from odebridge.control import Calibrated, Filter, LearnedStep, load
from odebridge.control.features import FEATURES
from odebridge.control.learned import Place, Pooled
from odebridge.core.files import digest_of
from odebridge.train import Keep, fit_loss, load_checkpoint, save_checkpoint
from odebridge.train.checkpoint import _sweep

D = torch.float64
ONE = torch.ones(2, dtype=D)
PLACE = Place(ONE, 0.5 * ONE, 0.5 * ONE)


def law(place=PLACE):
    width = 0 if place is None else place.width
    gate = LearnedStep(Filter((0.7, -0.3), (0.1,)), torch.zeros(2, len(FEATURES) + width, dtype=D), place, 1.3)
    return Calibrated(gate, "tsit5", 4, (1e-3, 1e-6), {"text": "a law"})


def forged(path, change):
    """The page with a change, signed anew."""
    page = json.loads(path.read_text())
    page.pop("sha256")
    change(page)
    path.write_text(json.dumps({**page, "sha256": digest_of(page)}))
    return path


LAWS = {
    "format": (lambda p: p.update(format=99), "has format 99; this version reads format 1"),
    "features": (lambda p: p["law"].update(features=["one"]), "other features than this version has; calibrate again"),
    "method": (lambda p: p.update(method=3), "is damaged, or not a controller"),
    "order": (lambda p: p.update(order="4"), "is damaged"),
    "rtols": (lambda p: p.update(rtols=[True, 1e-6]), "is damaged"),
    "three rtols": (lambda p: p.update(rtols=[1e-3, 1e-4, 1e-5]), "is damaged"),
    "a law that is none": (lambda p: p.update(law={"name": "newton"}), "is damaged"),
    "a place of two sizes": (lambda p: p["law"]["place"].update(size=[1.0]), "is damaged"),
    "an infinite number": (lambda p: p["law"].update(alone="inf"), "is damaged"),
    "weights of another shape": (lambda p: p["law"].update(weights=[[0.0]]), "is damaged"),
    "weights of words": (lambda p: p["law"].update(weights="none"), "is damaged"),
    "a list for a filter": (lambda p: p["law"].update(filter=[]), "is damaged"),
    "an unknown coefficient": (lambda p: p["law"]["filter"].update(gain=1.0), "is damaged"),
}


@pytest.mark.parametrize("case", LAWS)
def test_a_law_that_was_made_up_is_refused(case, tmp_path):
    change, words = LAWS[case]
    path = forged(law().save(tmp_path / "law.json"), change)
    with pytest.raises(ValueError, match=words):
        load(path)


@pytest.mark.parametrize("place", [None, PLACE, Pooled(PLACE, torch.ones(4, 3, dtype=D))], ids=["none", "place", "pooled"])
def test_what_a_law_sees_is_kept(place, tmp_path):
    again = load(law(place).save(tmp_path / "law.json")).law
    assert type(again.place) is type(place)
    assert torch.equal(again.weights, law(place).law.weights)
    assert law(place).traces_as.alone == again.alone == 1.3
    if isinstance(place, Pooled):
        assert torch.equal(again.place.mix, place.mix)


PAGES = {
    "format": (lambda p: p.update(format=2), "has format 2; this version reads format 1"),
    "record": (lambda p: p.update(record=[]), "is damaged, or not a checkpoint"),
    "no digest": (lambda p: p.update(tensors_sha256=None), "is damaged"),
    "another folder": (lambda p: p.update(tensors="../a-0123456789abcdef.safetensors"), "is damaged"),
    "no name": (lambda p: p.update(tensors=None), "is damaged"),
}


@pytest.mark.parametrize("case", PAGES)
def test_a_checkpoint_that_was_made_up_is_refused(case, tmp_path):
    change, words = PAGES[case]
    path = forged(save_checkpoint(tmp_path / "a.json", {"w": torch.ones(2)}, {}), change)
    with pytest.raises(ValueError, match=words):
        load_checkpoint(path)


def test_tensors_that_are_missing_or_none(tmp_path):
    path = save_checkpoint(tmp_path / "a.json", {"w": torch.ones(2)}, {})
    beside = tmp_path / json.loads(path.read_text())["tensors"]
    beside.write_bytes(b"nothing")
    forged(path, lambda p: p.update(tensors_sha256=hashlib.sha256(b"nothing").hexdigest()))
    with pytest.raises(ValueError, match=r"safetensors: holds no tensors"):
        load_checkpoint(path)
    beside.unlink()
    with pytest.raises(FileNotFoundError, match=r"its tensors, a-.*\.safetensors, are missing"):
        load_checkpoint(path)


def test_a_damaged_page_names_no_tensors_when_old_ones_are_swept(tmp_path):
    path = save_checkpoint(tmp_path / "a.json", {"w": torch.ones(2)}, {})
    (tmp_path / "a.previous.json").write_text("{}")
    old = tmp_path / "a-0123456789abcdef.safetensors"
    old.write_bytes(b"")
    _sweep(path)
    assert not old.exists()
    assert torch.equal(load_checkpoint(path)[0]["w"], torch.ones(2))


def trained(model, path, resume=False):
    x = torch.linspace(0.0, 1.0, 8)[:, None]
    return fit_loss(model, x, 2 * x, epochs=2, device="cpu", keep=Keep(path, resume, every=0.0))


def test_the_state_of_another_model_does_not_fit_and_says_why(tmp_path):
    path = tmp_path / "training.json"
    trained(nn.Linear(1, 1), path)
    with pytest.raises(ValueError, match="is the state of another model, which does not fit this one"):
        trained(nn.Linear(1, 1, bias=False), path, resume=True)


def test_a_state_without_one_of_its_tensors_is_refused(tmp_path):
    path = tmp_path / "training.json"
    trained(nn.Linear(1, 1), path)
    tensors, record = load_checkpoint(path)
    tensors.pop("model.bias")
    save_checkpoint(path, tensors, record)
    with pytest.raises(ValueError, match="not all of its tensors are there"):
        trained(nn.Linear(1, 1), path, resume=True)
