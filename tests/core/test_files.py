"""Files that are whole or not there, pages of JSON, and TOML in and out."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from odebridge.core import files
from odebridge.core.files import digest_of, name_file, parsed, sync_folder, write_atomic
from odebridge.core.toml import LARGEST, read_toml, written_toml


def full(*_args, **_more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Calls:
    """Counts what goes through a function of the system."""

    def __init__(self, monkeypatch, name):
        real, self.given = getattr(os, name), []

        def counted(*args):
            self.given.append((*args, os.fstat(args[0]).st_size))
            return real(*args)

        monkeypatch.setattr(files.os, name, counted)


def test_a_file_is_written_flushed_and_renamed(tmp_path, monkeypatch):
    synced, closed = Calls(monkeypatch, "fsync"), Calls(monkeypatch, "close")
    sizes = []
    real = Path.replace

    def replaced(path, target):
        sizes.append((path.stat().st_size, len(synced.given), path.parent == target.parent, path.name != target.name))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    path = tmp_path / "a.bin"
    for content in (b"one", b"two and more"):
        write_atomic(path, content)
        assert path.read_bytes() == content
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert sizes == [(3, 1, True, True), (12, 3, True, True)]  # on the disk before its name is
    assert len(synced.given) == 4  # the files and the folder, twice
    assert [size for _, size in synced.given[::2]] == [3, 12]  # nothing is left in a buffer
    assert {handle for handle, _ in synced.given[1::2]} <= {handle for handle, _ in closed.given}


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_names_it(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    monkeypatch.setattr(*((files.os, call) if call == "fsync" else (Path, call)), full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_kill_between_two_bytes_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_cleared_away_does_not_hide_the_first_error(tmp_path, monkeypatch):
    def denied(*_args, **_more):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(files.os, "fsync", full)
    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "a.bin", b"new")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none" / "a.bin"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)


def test_only_errors_of_the_system_get_a_name(tmp_path):
    error, plain, other = OSError(errno.ENOSPC, "full"), OSError("a sentence of its own"), ValueError("no")
    for one in (error, plain, other):
        name_file(one, tmp_path)
    assert error.filename == str(tmp_path)
    assert str(plain) == "a sentence of its own"
    assert plain.filename is None
    assert not hasattr(other, "filename")


def test_a_folder_is_made_durable_or_let_be(tmp_path, monkeypatch):
    sync_folder(tmp_path / "none")
    closed = Calls(monkeypatch, "close")
    monkeypatch.setattr(files.os, "fsync", full)
    sync_folder(tmp_path)
    assert len(closed.given) == 1


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, "é", "🙂", "\\ud83d\\ude42", true]}', '"\\\\ud800"', '"plain \\\\udxyz"']
)
@pytest.mark.parametrize("form", [str, str.encode], ids=["text", "bytes"])
def test_json_is_read(text, form):
    assert parsed(form(text)) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ['"\\ud800"', '"\\UD800"', '{"\\uDFFF": 1}', "[" * 100_000, "NaN", "[Infinity]", '{"a": -Infinity}', "{", "", b"\xff\xff"],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_json_is_a_value_error(text, strict):
    bare = isinstance(text, str) and text.strip('{}[]"a: -') in ("NaN", "Infinity")
    if bare and not strict:
        assert parsed(text, strict=False) is not None
        return
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(text, strict=strict)
    if bare:
        assert text.strip('{}[]"a: ') in str(caught.value)
    with pytest.raises(ValueError, match=r"."):
        parsed("NaN")  # strict unless told


def test_a_digest_is_that_of_the_page_whatever_the_order():
    page = {"b": [1, 2.5], "a": {"y": None, "x": "é"}}
    turned = {"a": {"x": "é", "y": None}, "b": [1, 2.5]}
    assert digest_of(page) == digest_of(turned) == hashlib.sha256(json.dumps(turned, sort_keys=True).encode()).hexdigest()
    assert digest_of({**page, "b": [1, 2.5000001]}) != digest_of(page)


# TOML


PAGE = {
    "whole": 1, "yes": True, "no": False, "real": 0.1, "tiny": 5e-324, "endless": float("-inf"), "key with space": 2, "": 3,
    "text": 'x "y"\n\\ \x7f\x00\t é 🙂 \u2028', "list": [1, 2.5, "z", [True, []]], "pair": (1, 2),
    "table": {"é": 1, "a.b": "c", "A-z_9": 4},
}  # fmt: skip


def test_a_page_is_the_same_when_read_again(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(written_toml({"none": None, **PAGE, "empty": {}}, "two\nlines"), encoding="utf-8")
    assert read_toml(path) == read_toml(str(path)) == {**PAGE, "pair": [1, 2]}
    assert path.read_text().startswith("# two\n# lines\nwhole = 1\nyes = true\n")


def test_tables_come_last_and_without_what_is_none():
    assert written_toml({"t": {"x": None, "y": 1}, "a": 2}) == "a = 2\n\n[t]\ny = 1\n"
    assert written_toml({}) == written_toml({"t": {}, "u": None}) == ""
    assert written_toml({"a": 1}, "word") == "# word\na = 1\n"


@pytest.mark.parametrize("value", [1j, b"x", object(), {1}])
def test_what_toml_has_no_word_for_is_refused(value):
    for page in ({"a": value}, {"a": [value]}, {"t": {"a": value}}):
        with pytest.raises(TypeError, match="no word"):
            written_toml(page)


def test_a_table_in_a_list_is_refused():
    with pytest.raises(TypeError, match="no word"):
        written_toml({"a": [{"b": 1}]})


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a = 1\x00", b"a = " + b"[" * 100_000, b"a = 1\na = 2", b"a ="])
def test_other_files_are_refused_by_name(tmp_path, body):
    path = tmp_path / "odd.toml"
    path.write_bytes(body)
    with pytest.raises(ValueError, match=r"odd\.toml: is not TOML"):
        read_toml(path)


def test_a_file_of_settings_is_a_file_and_small(tmp_path):
    assert LARGEST == 1024**2
    for missing in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read_toml(missing)
    path = tmp_path / "a.toml"
    path.write_bytes(b"#" * LARGEST)
    assert read_toml(path) == {}
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ValueError, match="limit"):
        read_toml(path)
