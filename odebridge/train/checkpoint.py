"""Checkpoints that survive a crash and notice a flipped byte. No pickle: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from odebridge.core.files import digest_of, parsed, write_atomic

FORMAT = 1


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any] | None = None) -> Path:
    """Write a checkpoint; until the last moment the one before it stays the valid one, and it is kept as `previous`.

    path: name.json, which holds `record` (anything JSON can), the sha256 of itself and that of the tensors; these lie
    beside it in name-<hash>.safetensors. tensors: name -> (*s), any shapes and dtypes. Each file is written under another
    name, flushed to the disk and renamed, so a crash leaves the old checkpoint or the new one. Returns the path. TypeError
    or ValueError for a record that JSON cannot hold.
    Caveat: tensors that share memory are stored once for each name, and load as separate ones.
    Use: `save_checkpoint("runs/1/model.json", model.state_dict(), {"epoch": 3})`.
    """
    path = _json_path(path)
    body = save({name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()})
    digest = hashlib.sha256(body).hexdigest()
    name = f"{path.stem}-{digest[:16]}.safetensors"
    page = {"format": FORMAT, "tensors": name, "tensors_sha256": digest, "record": dict(record or {})}
    page = json.loads(json.dumps(page))  # keys such as 10 become strings, which sort differently: sign what will be read
    text = json.dumps({**page, "sha256": digest_of(page)}, indent=1)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_name(name), body)
    if path.exists() and _sound(path):  # a damaged file must not push out the good one
        write_atomic(_previous(path), path.read_bytes())
    write_atomic(path, text.encode())
    _sweep(path)
    return path


def load_checkpoint(path: str | Path, *, previous: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, on the CPU, and record of a checkpoint; with previous=True of the one before it.

    FileNotFoundError if there is none; ValueError, in a sentence, if a byte of either file is not what was written.
    Use: `tensors, record = load_checkpoint("runs/1/model.json"); model.load_state_dict(tensors)`.
    """
    first = _json_path(path)
    path = _previous(first) if previous else first
    hint = "" if previous or not _previous(first).exists() else " The one before it can be read with previous=True."
    page = _page(path, hint)
    beside = path.with_name(page["tensors"])
    if not beside.is_file():
        raise FileNotFoundError(f"{path}: its tensors, {beside.name}, are missing.{hint}")
    body = beside.read_bytes()
    if hashlib.sha256(body).hexdigest() != page["tensors_sha256"]:
        raise ValueError(f"{beside}: does not have the checksum that was written; the file is damaged.{hint}")
    try:
        return load(body), page["record"]
    except SafetensorError as error:
        raise ValueError(f"{beside}: holds no tensors ({error}).{hint}") from error


def _page(path: Path, hint: str = "") -> dict[str, Any]:
    """The checked content of the JSON file."""
    damaged = f"{path}: is damaged, or not a checkpoint of odebridge.{hint}"
    try:
        page = parsed(path.read_bytes(), strict=False)
    except ValueError as error:  # JSON and UTF-8 errors alike
        raise ValueError(damaged) from error
    if not isinstance(page, dict) or page.pop("sha256", None) != digest_of(page):
        raise ValueError(damaged)
    if page.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {page.get('format')!r}; this version reads format {FORMAT}.")
    # The checksum is no signature: a forged page must not reach out of its folder.
    tensors, shaped = page.get("tensors"), isinstance(page.get("record"), dict) and isinstance(page.get("tensors_sha256"), str)
    if not shaped or not isinstance(tensors, str) or not re.fullmatch(r"[^/\\\0]+-[0-9a-f]{16}\.safetensors", tensors):
        raise ValueError(damaged)
    return page


def _sound(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except (OSError, ValueError):
        return False
    return True


def _json_path(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path.with_name(f"{path.name}.json")


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous.json")


def _sweep(path: Path) -> None:
    """Remove tensor files that neither checkpoint names."""
    named = {_page(p)["tensors"] for p in (path, _previous(path)) if p.exists() and _readable(p)}
    for file in path.parent.glob(f"{path.stem}-{'[0-9a-f]' * 16}.safetensors"):
        if file.name not in named:
            file.unlink(missing_ok=True)


def _readable(path: Path) -> bool:
    try:
        _page(path)
    except (OSError, ValueError):
        return False
    return True
