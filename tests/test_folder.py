"""Images in folders, drawn here: what is read, what is refused, a training on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from odebridge.bench import training
from odebridge.cli import app
from odebridge.data import folder as folders
from odebridge.data import image_folder, imagenet
from odebridge.data.folder import DEVIATION, MEAN, OnDisk, decoded
from odebridge.nets import resnet
from odebridge.train import fit

COLOURS = {"blue": (0, 0, 255), "green": (0, 200, 0), "red": (255, 0, 0)}


def drawn(root: Path, train: int = 6, val: int = 2, classes: dict = COLOURS) -> Path:
    """Plain pictures of one colour and of several sizes, a class for each colour."""
    for part, n in (("train", train), ("val", val)):
        for name, colour in classes.items():
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                shade = tuple(max(0, c - 10 * i) for c in colour)
                Image.new("RGB", (20 + 7 * i, 30 - i), shade).save(root / part / name / f"{i}.{'png' if i % 2 else 'jpg'}")
            (root / part / name / "notes.txt").write_text("no image")
    return root


def test_images_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    data = image_folder(drawn(tmp_path), side=16)
    assert (len(data.train_x), len(data.test_x), data.classes, data.channels) == (18, 6, 3, 3)
    assert tuple(data.train_x.shape) == (18, 3, 16, 16)
    assert data.train_y.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    x = data.train_x[torch.tensor([13, 0])]
    wanted = torch.tensor([[245 / 255, 0.0, 0.0], [0.0, 0.0, 1.0]])
    wanted = (wanted - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    torch.testing.assert_close(x, wanted[:, :, None, None].expand(2, 3, 16, 16), atol=0.05, rtol=0)
    assert torch.equal(data.train_x[12:14][1], x[0])
    assert [len(batch) for batch in data.test_x.split(4)] == [4, 2]
    assert tuple(data.test_x[:0].shape) == (0, 3, 16, 16)


def test_the_middle_of_an_image_is_kept(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 32), (255, 0, 0))
    picture.paste((0, 0, 255), (16, 0, 48, 32))
    picture.save(tmp_path / "wide.png")
    found = decoded(str(tmp_path / "wide.png"), 28)  # 32 x 32 in the middle of the scaled picture is blue
    assert found.shape == (28, 28, 3)
    assert (found[:, 2:-2] == (0, 0, 255)).all()
    Image.new("L", (5, 9), 128).save(tmp_path / "grey.png")  # small and grey: enlarged, three channels
    assert (decoded(str(tmp_path / "grey.png"), 8) == 128).all()


def break_it(root: Path, how: str) -> None:
    if how == "no train":
        (root / "train").rename(root / "training")
    elif how == "other classes":
        (root / "val" / "red").rename(root / "val" / "rot")
    elif how == "no image":
        for file in (root / "train" / "green").iterdir():
            file.unlink()
    elif how == "empty file":
        (root / "val" / "blue" / "0.jpg").write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no train", "no folder with train and val"),
        ("other classes", "not the same classes; 'red'"),
        ("no image", "green: holds no image"),
        ("empty file", "0.jpg: is empty"),
    ],
)
def test_folders_that_are_not_whole_are_refused(how: str, says: str, tmp_path: Path) -> None:
    break_it(drawn(tmp_path), how)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        image_folder(tmp_path)


def test_one_class_and_tiny_sides_are_refused(tmp_path: Path) -> None:
    drawn(tmp_path, classes={"red": (255, 0, 0)})
    with pytest.raises(ValueError, match="two at least"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="at least 8"):
        image_folder(tmp_path, side=4)


def test_a_damaged_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    file = drawn(tmp_path) / "train" / "blue" / "0.jpg"
    file.write_bytes(file.read_bytes()[:200])
    data = image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"0\.jpg: is damaged"):
        data.train_x[:2]
    file.write_text("not a picture")
    with pytest.raises(ValueError, match=r"0\.jpg: is damaged"):
        data.train_x[:2]


def test_a_network_learns_from_a_folder(tmp_path: Path) -> None:
    data = image_folder(drawn(tmp_path, 12, 4), side=16)
    torch.manual_seed(0)
    history = fit(
        resnet(8, None, 3, 3, 4), data, epochs=6, batch_size=12, lr=0.05, device="cpu", augment=True, crop=8
    )  # fmt: skip
    assert history.test_accuracy[-1] == 1.0
    with pytest.raises(ValueError, match="needs augment=True"):
        fit(resnet(8, None, 3, 3, 4), data, epochs=1, device="cpu", crop=8)


def test_imagenet_is_checked_for_its_classes_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"n{i:08d}": c for i, c in enumerate(COLOURS.values())}
    drawn(tmp_path / "imagenet", classes=names)
    with pytest.raises(ValueError, match=r"3 classes, 18 training and 6 .* must have 1000 classes, 1281167 training"):
        imagenet(tmp_path)
    for name, value in (("CLASSES", 3), ("TRAIN", 18), ("TEST", 6)):
        monkeypatch.setattr(folders, name, value)
    data = imagenet(tmp_path, side=32)
    assert (data.name, data.classes, len(data.train_x)) == ("imagenet", 3, 18)
    for part in ("train", "val"):
        (tmp_path / "imagenet" / part / "n00000001").rename(tmp_path / "imagenet" / part / "cat")
    with pytest.raises(ValueError, match="'cat' is no name"):
        imagenet(tmp_path)


def test_the_command_trains_on_a_folder_and_on_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"n{i:08d}": c for i, c in enumerate(COLOURS.values())}
    monkeypatch.setenv("ODEBRIDGE_DATA", str(drawn(tmp_path / "data", 4, 1, names)))
    for name, value in (("CLASSES", 3), ("TRAIN", 12), ("TEST", 3)):
        monkeypatch.setattr(folders, name, value)
    monkeypatch.setattr(training, "IMAGES", {**training.IMAGES, "imagenet": lambda: imagenet(side=32)})
    words = ["--epochs", "1", "--batch-size", "6", "--device", "cpu", "--out", str(tmp_path / "runs")]
    for data, more in (
        ("image-folder", ["--depth", "8", "--width", "4"]),
        ("imagenet", ["--preset", "paper", "--depth", "18"]),
    ):
        done = CliRunner().invoke(app, ["train", "resnet", "--data", data, *more, *words])
        assert done.exit_code == 0, done.output
    bad = CliRunner().invoke(app, ["train", "resnet", "--data", "imagenet", "--depth-weights", "tied", *words])
    assert "networks for ImageNet have layers" in bad.output
    pages = [json.loads((f / "run.json").read_text())["settings"] for f in (tmp_path / "runs").iterdir()]
    (page,) = [p for p in pages if p["data"] == "imagenet"]
    assert (page["schedule"], page["lr"], page["weight_decay"]) == ("thirds", 0.1, 1e-4)


def test_what_differs_between_the_data_of_the_papers_recipe() -> None:
    assert training.preset("paper", None)["data"] == "cifar-100"
    stl, large = training.preset("paper", "stl-10"), training.preset("paper", "imagenet")
    assert (stl["batch_size"], stl["crop"], stl["epochs"]) == (16, 32, 164)
    assert (large["depth"], large["epochs"], large["batch_size"]) == (50, 100, 256)
    assert training.preset("quick", "stl-10") == training.PRESETS["quick"]


def test_on_disk_goes_to_a_device(tmp_path: Path) -> None:
    data = image_folder(drawn(tmp_path), side=8)
    assert isinstance(data.train_x, OnDisk)
    assert data.train_x.to(torch.device("cpu"))[:1].device.type == "cpu"
