"""Do the tests notice when the code is wrong? `python benchmarks/mutation.py [MODULE ...] [--resume] [--minutes M]`.

Every mutant of a module (`mutants.py`) takes the module's place in a forked process, which runs the test files that belong to
the module until the first one fails. The parent has imported all that the tests need from elsewhere, so that a mutant costs a
second or less. A mutant dies by a failed test, by an error at import, by a crash, or by using more than its limit of processor
time (a hang). Survivors are judged by hand in results/mutation/judged.toml: "equivalent: why" or "accepted: why".
A row for each mutant in results/mutation/mutants.jsonl; `--resume` tries those without a row for this text of the module,
`--survivors` those that have survived, `--show` prints survivors nobody has judged, `--page` writes docs/develop/mutation.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # slow to import, and a test of what is compiled needs it
from mutants import mutants
from torch.autograd import forward_ad

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "results" / "mutation"
PAGE = ROOT / "docs" / "develop" / "mutation.md"
MARKS = ("<!-- the table: python benchmarks/mutation.py --page -->", "<!-- end -->")
SMALL = "tests/core/test_small.py"
# The files whose tests belong to a module. Fast ones; what survives them is tried on more by hand.
TESTS: dict[str, tuple[str, ...]] = {
    **{f"core/{name}": (SMALL,) for name in ("compiling", "derivatives", "fields", "memory", "names", "optional", "over")},
    **{f"core/{name}": (SMALL,) for name in ("protocols", "told")},
    "core/arrays": ("tests/core/test_arrays.py",),
    "core/files": ("tests/core/test_files.py",),
    "core/toml": ("tests/core/test_files.py",),
    "core/shapes": ("tests/core/test_shapes.py",),
    "core/tolerance": ("tests/core/test_shapes.py",),
    "core/forcing": ("tests/core/test_forcing.py", SMALL),
    "core/result": ("tests/core/test_result.py", SMALL),
    "core/plot": ("tests/core/test_plot.py",),
    "control/classical": ("tests/test_classical.py", "tests/contract/test_controllers.py"),
    "tableaus/conditions": (
        "tests/contract/test_conditions.py",
        "tests/contract/test_at_infinity.py",
        "tests/contract/test_tableaus.py",
    ),
}
OPTIONS = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
SPARE, TIMES = 5.0, 5.0  # processor seconds that a mutant may use: the first, and the second times what its tests take


class Given:
    """An importer that has one module, in the text it was given."""

    def __init__(self, name: str, path: Path, code: types.CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module, if it is the one."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def create_module(self, spec: Any) -> None:
        """A usual one."""

    def exec_module(self, module: Any) -> None:
        """Run its text."""
        exec(self.code, module.__dict__)


class First:
    """A plug-in of pytest that tells which test failed first."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One failure ends the run."""
        if report.failed:
            os.write(self.pipe, report.nodeid.encode()[:2000])

    def pytest_collectreport(self, report: Any) -> None:
        """A file of tests that cannot be imported."""
        if report.failed:
            os.write(self.pipe, f"import of {report.nodeid}".encode())


def warm(files: set[str]) -> None:
    """Import what the tests need from elsewhere. A process of its own finds out what: odebridge can be imported only once."""
    out, pipe = os.pipe()
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        good = pytest.main([*OPTIONS, "--collect-only", *(str(ROOT / file) for file in sorted(files))]) == 0
        theirs = [k for k, m in sys.modules.items() if not str(getattr(m, "__file__", "")).startswith(str(ROOT))]
        with os.fdopen(pipe, "w") as told:
            json.dump(theirs if good else [], told)
        os._exit(0)
    os.close(pipe)
    with os.fdopen(out) as told:
        theirs = json.load(told)
    assert theirs, f"the tests cannot be collected: {files}"
    for name in theirs:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    assert not any(name.startswith("odebridge") for name in sys.modules)
    with warnings.catch_warnings(action="ignore"), forward_ad.dual_level():
        forward_ad.make_dual(torch.ones(1), torch.ones(1))  # compiles much the first time
    gc.freeze()  # or the collection that pytest asks for at its end looks at all of torch


def child(module: str, code: types.CodeType | None, files: tuple[str, ...], limit: float, pipe: int) -> int:
    """The tests on the mutant, in this process. 0: all passed."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 3))
    resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))
    bare = types.ModuleType("odebridge")  # only what the tests name is imported, not all that the package offers
    bare.__path__ = [str(ROOT / "odebridge")]
    sys.modules["odebridge"] = bare
    if code is not None:
        sys.meta_path.insert(0, Given("odebridge." + module.replace("/", "."), source_of(module), code))
    return int(pytest.main([*OPTIONS, *files], plugins=[First(pipe)]))


def tried(module: str, code: types.CodeType | None, files: tuple[str, ...], limit: float) -> dict[str, Any]:
    """Outcome of one mutant: survived, killed (and by which test) or hung. code None: the module as it is."""
    out, pipe = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 70
        with contextlib.suppress(BaseException):
            status = child(module, code, files, limit, pipe)
        os._exit(status)
    os.close(pipe)
    done, status, used = 0, 0, None
    while not done:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if not done and time.monotonic() - start > 6 * limit + 30:  # asleep, so that it uses no processor
            os.kill(pid, signal.SIGKILL)
            done, status, used = os.wait4(pid, 0)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with os.fdopen(out, "rb") as told:
        by = told.read().decode().partition(" - ")[0]
    assert used is not None
    code_, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    outcome = "survived" if code_ == 0 else "hung" if code_ in (-signal.SIGXCPU, -signal.SIGKILL) else "killed"
    return {"outcome": outcome, "by": by or ("" if code_ == 0 else f"exit {code_}"), "seconds": round(seconds, 2)}


def source_of(module: str) -> Path:
    """The file of a module."""
    return ROOT / "odebridge" / f"{module}.py"


def rows() -> dict[tuple[str, str], dict[str, Any]]:
    """The last row of every mutant."""
    path = OUT / "mutants.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {(row["module"], row["mutant"]): row for row in map(json.loads, lines)}


def run(module: str, which: str, until: float) -> bool:
    """Try the mutants of a module; False where the time is over."""
    text = source_of(module).read_text()
    digest, known, files = hashlib.sha256(text.encode()).hexdigest()[:12], rows(), TESTS[module]
    todo, names = [], set()
    for m in mutants(text, str(source_of(module))):
        row = known.get((module, m.name), {})
        fresh = row.get("source") == digest
        names.add(m.name)
        if which == "all" or (which == "resume" and not fresh) or (which == "survivors" and row.get("outcome") == "survived"):
            todo.append(m)
    gone = {key for key in known if key[0] == module and key[1] not in names}
    write_rows({k: v for k, v in known.items() if k not in gone})
    if not todo:
        return True
    base = tried(module, None, files, 600.0)
    assert base["outcome"] == "survived", f"{module}: its tests fail as it is: {base}"
    print(f"{module}: {len(todo)} mutants, tests take {base['seconds']} s", flush=True)
    with (OUT / "mutants.jsonl").open("a") as file:
        for m in todo:
            if time.monotonic() > until:
                return False
            row = {"module": module, "line": m.line, "mutant": m.name, "source": digest}
            row |= tried(module, m.code, files, SPARE + TIMES * base["seconds"])
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            if row["outcome"] != "killed":
                print(f"  {row['outcome']}  {m.line}: {m.name}", flush=True)
    return True


def write_rows(found: dict[tuple[str, str], dict[str, Any]]) -> None:
    """One row for each mutant, in the order of the modules and of their text."""
    order = sorted(found.values(), key=lambda row: (list(TESTS).index(row["module"]), row["line"]))
    beside = OUT / "mutants.new"
    beside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in order))
    beside.replace(OUT / "mutants.jsonl")


def judged() -> dict[str, dict[str, str]]:
    """What survivors were found to be, by module and mutant."""
    path = OUT / "judged.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def counts() -> Iterator[list[Any]]:
    """Module, mutants, killed (hung ones too), equivalent, accepted, open."""
    found, said = rows().values(), judged()
    for module in TESTS:
        mine = [row for row in found if row["module"] == module]
        alive = [said.get(module, {}).get(row["mutant"], "open") for row in mine if row["outcome"] == "survived"]
        kinds = [sum(word.startswith(kind) for word in alive) for kind in ("equivalent", "accepted", "open")]
        yield [module, len(mine), len(mine) - len(alive), *kinds]


def main() -> None:
    """Try, show, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help=", ".join(TESTS))
    for word in ("resume", "survivors", "show", "page"):
        parser.add_argument(f"--{word}", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after that many")
    given = parser.parse_args()
    if given.page:
        write_page()
    elif given.show:
        said = judged()
        for (module, name), row in rows().items():
            if row["outcome"] == "survived" and module in given.modules and name not in said.get(module, {}):
                print(f"{module}:{row['line']}  {name}")
    else:
        torch.set_num_threads(1)
        OUT.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + 60.0 * given.minutes
        warm({file for module in given.modules for file in TESTS[module]})
        which = "resume" if given.resume else "survivors" if given.survivors else "all"
        done = all(run(module, which, until) for module in given.modules)
        write_rows(rows())
        from odebridge.bench.verdict import head  # not before: a mutant must be the first to be imported

        page = head("Mutation tests", "python benchmarks/mutation.py")
        (OUT / "head.json").write_text(json.dumps(page, indent=1) + "\n")
        print("done" if done else "time is over; go on with --resume")


def write_page() -> None:
    """Put the table into the page of the documentation."""
    ran, table = json.loads((OUT / "head.json").read_text()), list(counts())
    table.append(["all", *(sum(row[i] for row in table) for i in range(1, 6))])
    lines = ["| module | mutants | killed | equivalent | accepted | open |", "| --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table]
    versions = f"torch {ran['versions']['torch']}, Python {ran['versions']['python']}"
    where = f"By `{ran['command']}`, {ran['cpu']}, one thread, {versions}, {ran['utc'][:10]}. Hangs count as killed."
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    text = "\n".join([MARKS[0], where, "", *lines, MARKS[1]])
    PAGE.write_text(before + text + rest.partition(MARKS[1])[2])


if __name__ == "__main__":
    main()
