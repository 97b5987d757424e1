"""Cases as independent jobs: processes, shares, pieces, a worker that dies, a local cluster, resuming to the same table."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from odebridge.bench import library, pool, versus
from odebridge.bench.compare_page import counts_of
from odebridge.bench.interrupt import quiet_after_ctrl_c
from odebridge.bench.limit import Overdue, limited
from odebridge.bench.pool import How, only, run_parts, shard_of, share
from odebridge.bench.quick import run_suite
from odebridge.bench.record import RESULTS, read
from odebridge.bench.report import in_order, latest, render
from odebridge.bench.resume import finished, remaining
from odebridge.bench.runner import Case, Outcome, Part, run_case
from odebridge.bench.suite import SUITES, Suite


def ignore(_anything):
    """Nobody writes, nobody watches."""


def square(i, _left):
    if i == 3:
        raise ZeroDivisionError("three")
    return Outcome({"square": i * i, "f_evals": i})


def die(i, _left):
    if i == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return Outcome({"i": i})


def hang(i, _left):
    while i == 1:
        with contextlib.suppress(Exception):  # as a library that swallows what it can
            time.sleep(0.01)
    return Outcome({"i": i})


def a_part(n=6, run=square):
    return Part("p", float("inf"), [Case(f"case {i}", {"i": i}, partial(run, i)) for i in range(n)], each=10.0)


def rows_of(how, part=None):
    rows = []
    run_parts([part or a_part()], how, rows.append, ignore)
    return sorted(rows, key=lambda r: r.order)


def told(rows):
    return [(r.order, r.status, dict(r.values)) for r in rows]


def test_processes_give_the_rows_of_one_process_and_a_fault_is_a_row():
    alone = told(rows_of(How()))
    assert told(rows_of(How(jobs=2))) == alone
    assert [status for _, status, _ in alone] == ["ok", "ok", "ok", "error", "ok", "ok"]


@pytest.mark.slow
def test_a_worker_that_dies_costs_one_row():
    rows = rows_of(How(jobs=2), a_part(4, die))
    assert [r.status for r in rows] == ["ok", "error", "ok", "ok"]
    assert "died" in rows[1].message


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_case_that_never_ends_is_stopped_and_costs_one_row(jobs):
    part = replace(a_part(4, hang), each=0.1, grace=0.2)
    rows = rows_of(How(jobs=jobs), part)
    assert [r.status for r in rows] == ["ok", "failed", "ok", "ok"]
    assert "no end after 0.4 s" in rows[1].message
    assert rows[1].seconds < 20.0


def test_a_peer_that_never_ends_is_stopped(monkeypatch):
    class Endless:
        name, version = "scipy:Radau", "1"

        def __call__(self, *_given, **_more):
            while True:
                time.sleep(0.01)

    monkeypatch.setitem(library.PEERS, "scipy:Radau", Endless())
    (part,) = only(library.parts("quick"), lambda label: label == "hires, scipy:Radau")
    (row,) = rows_of(How(), replace(part, each=0.1, grace=0.1))
    assert (row.status, row.configuration["method"]) == ("failed", "scipy:Radau")
    assert "Stopped" in row.message


def test_the_limit_gives_back_the_timer_that_it_found():
    """Of pytest-timeout, for instance."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    handler = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Overdue), limited(0.05):
        time.sleep(5.0)
    assert signal.getsignal(signal.SIGALRM) is handler
    after, _ = signal.getitimer(signal.ITIMER_REAL)
    assert (after > 0.0) == (left > 0.0)
    assert left - 5.0 < after <= left
    with limited(0.5):
        pass
    time.sleep(0.6)  # and none is left behind


@pytest.mark.slow
@pytest.mark.peers
def test_a_local_dask_cluster_of_two_workers_gives_the_same_rows():
    distributed = pytest.importorskip("distributed")
    alone = told(rows_of(How()))
    assert told(rows_of(How(jobs=2, backend="dask"))) == alone
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        assert told(rows_of(How(jobs=2, backend="dask", cluster=cluster.scheduler_address))) == alone


def test_shares_are_disjoint_and_complete_and_keep_their_places():
    whole = a_part(7)
    shares = [share(whole, (i, 3)) for i in (1, 2, 3)]
    assert sorted(order for part in shares for order, _ in part.numbered()) == list(range(7))
    assert [case.label for _, case in shares[1].numbered()] == ["case 1", "case 4"]
    assert share(whole, None) is whole


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/2/3"])
def test_a_wrong_share_is_a_sentence(text):
    with pytest.raises(ValueError, match="i/n"):
        shard_of(text)
    assert shard_of("3/16") == (3, 16)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"jobs": 0}, "jobs"), ({"backend": "slurm"}, "loky"), ({"cluster": "tcp://a:1"}, "dask"), ({"minutes": 0.0}, "minutes")],
)
def test_wrong_ways_to_run_are_sentences(wrong, says):
    with pytest.raises(ValueError, match=says):
        How(**wrong)


def test_after_the_minutes_no_case_is_begun_here_or_in_workers():
    slow = Part(
        "p", float("inf"), [Case(str(i), {"i": i}, lambda _: Outcome(time.sleep(0.3) or {})) for i in range(20)], each=9.0
    )
    assert 1 <= len(rows_of(How(minutes=0.01), slow)) < 20
    assert len(rows_of(How(jobs=2, minutes=0.02), slow)) < 20


def test_cases_without_a_limit_of_their_own_share_the_budget_in_workers_too():
    """It began with the run, which is longer ago than this."""
    rows = rows_of(How(jobs=2), replace(a_part(), budget=1e-9, each=None))
    assert {r.status for r in rows} == {"skipped"}
    assert {r.message for r in rows} == {"The part's time budget of 1e-09 s was used up before this run."}


def test_only_takes_cases_by_label():
    (part,) = only([a_part(), Part("q", 1.0, [])], lambda label: label.endswith("4"))
    assert part.numbered()[0][0] == 4


def test_a_run_in_pieces_makes_the_table_of_one_run(tmp_path):
    whole = run_suite("s", [a_part()], tmp_path / "whole", {}, ignore, "a test")
    pieces = run_suite("s", [a_part().without(lambda i, _: i < 4)], tmp_path / "pieces", {}, ignore, "a test")
    file = pieces / RESULTS
    file.write_bytes(file.read_bytes()[:-30])  # killed while it wrote
    run_suite("s", [a_part()], tmp_path, {}, ignore, "a test", pieces)
    first, second = ([(r["order"], r["status"], r["values"]) for r in latest(in_order(read(f).rows))] for f in (whole, pieces))
    assert first == second
    assert remaining(a_part(), finished(pieces)).cases[0].label == "case 3"  # a fault is tried again


def test_a_suite_that_is_killed_and_resumed_has_the_counts_of_one_that_was_not(tmp_path):
    """The same seed twice, once in two processes' pieces: identical counts (one machine)."""
    few = library.parts("quick")[0].without(lambda _, case: not case.label.startswith("lotka"))
    code = (
        "import os, sys\n"
        "from odebridge.bench import library as l\n"
        "from odebridge.bench.quick import run_suite\n"
        "part = l.parts('quick')[0].without(lambda _, case: not case.label.startswith('lotka'))\n"
        "def tell(e):\n"
        "    if e.row is not None and e.done == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
        "run_suite('s', [part], sys.argv[1], {}, tell, 'a test')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    (killed,) = (tmp_path / "killed").iterdir()
    assert len(read(killed).rows) == 2
    run_suite("s", [few], tmp_path, {}, ignore, "a test", killed)
    whole = run_suite("s", [few], tmp_path / "whole", {}, ignore, "a test")
    counts = [{r["hash"]: list(counts_of(r["values"])) for r in read(f).rows} for f in (killed, whole)]
    assert counts[0] == counts[1]
    assert all(counts[0].values())
    assert [r["hash"] for r in latest(read(killed).rows)] == [r["hash"] for r in latest(read(whole).rows)]
    page = render([killed, whole])
    assert "Runs side by side" in page
    assert f"the counts of {len(counts[0])} are equal" in page


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_every_suite_is_a_list_of_cases_with_hashes_and_labels_of_their_own(name, size):
    asked = {"seed": 3, "size": size, "device": "cpu", "shard": None, "only": None}
    parts = Suite(name).parts(asked)
    labels = [case.label for part in parts for case in part.cases]
    assert len(labels) == len(set(labels)) > 0
    keys = [(part.name, repr(sorted(case.configuration.items()))) for part in parts for case in part.cases]
    assert len(keys) == len(set(keys))
    assert all(part.each for part in parts)
    assert Suite(name).command({**asked, "shard": "1/2"}).endswith("--shard 1/2")


def test_suites_refuse_in_sentences(tmp_path):
    with pytest.raises(ValueError, match="either"):
        Suite("solvers")(tmp_path, quick=True, full=True)
    with pytest.raises(ValueError, match="CPU"):
        Suite("gradients")(tmp_path, device="cuda")
    with pytest.raises(ValueError, match="labels are such as"):
        Suite("nonstiff")(tmp_path, only="nothing like it")
    assert list(tmp_path.iterdir()) == []


def test_the_standard_sizes_leave_out_what_explains_nothing_more():
    (part,) = library.parts("standard")
    stiff = [c.configuration["method"] for c in part.cases if c.configuration["problem"] == "robertson"]
    assert "dopri5" in stiff
    assert not {"tsit5", "dopri8"} & set(stiff)
    robertson = [r for r in versus.solvers(versus.settings("standard", 0, "cpu"), "robertson") if r["method"] == "tsit5"]
    assert len(robertson) == 1


class Backend:
    """What joblib gives and takes, without its processes. broken: the number of outcomes after which a worker dies."""

    def __init__(self, broken=None):
        self.broken, self.calls = broken, []

    def __call__(self, jobs, **options):
        self.calls.append((jobs, options))

        def work(tasks):
            for i, (run, given, more) in enumerate(list(tasks)):
                if i == self.broken:
                    raise TerminatedWorkerError("killed")
                yield run(*given, **more)

        return work


class TerminatedWorkerError(Exception):
    """As joblib's."""


@pytest.fixture
def here(monkeypatch):
    """Work that is spread out runs in this process."""

    def use(broken=None):
        backend = Backend(broken)
        monkeypatch.setattr(pool, "_parallel", backend)
        return backend

    return use


def test_after_a_worker_died_the_rest_runs_one_by_one(here):
    backend = here(2)
    rows = rows_of(How(jobs=2), a_part(4))
    assert [r.order for r in rows] == [0, 1, 2, 3]
    assert [r.status for r in rows] == ["ok", "ok", "ok", "error"]
    assert rows[3].message == "ZeroDivisionError: three"
    assert [jobs for jobs, _ in backend.calls] == [2, 2, 2]


def test_a_case_that_kills_its_own_process_is_a_row(here):
    here(0)
    rows = rows_of(How(jobs=2), a_part(2))
    assert [r.status for r in rows] == ["error", "error"]
    assert all(r.message == DIED for r in rows)


DIED = "TerminatedWorkerError: a worker process died of this case (TerminatedWorkerError)"


def test_no_case_is_begun_one_by_one_when_it_is_too_late(here, monkeypatch):
    here(1)
    monkeypatch.setattr(pool.time, "monotonic", iter([0.0, 0.0, *[1e6] * 20]).__next__)
    monkeypatch.setattr(pool, "_worked", lambda i, piece, *_: (i, run_case(piece[0], piece[2], piece[1], 1.0)))
    rows = []
    run_parts([a_part(4)], How(jobs=2, minutes=1.0), rows.append, ignore)
    assert [r.order for r in rows] == [0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_ctrl_c_is_no_death_of_a_worker(here, monkeypatch, error):
    def work(_tasks):
        raise error
        yield

    monkeypatch.setattr(pool, "_parallel", lambda jobs, **options: work)
    with pytest.raises(error):
        list(pool._everywhere([(a_part(1), 0, a_part(1).cases[0])], How(jobs=2), float("inf")))


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_cluster_that_is_not_installed_is_a_sentence(monkeypatch, backend):
    monkeypatch.setattr(pool, "optional", lambda name: None)
    with pytest.raises(ValueError, match=f"{backend}' is not installed; pip install {backend}"):
        rows_of(How(backend=backend))


class Opened:
    """Something that is opened and closed, and says so."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        self.log.append(f"open {self.name}")
        return self

    def __exit__(self, *_):
        self.log.append(f"close {self.name}")


@pytest.mark.parametrize(("jobs", "cluster"), [(3, None), (-1, None), (1, "tcp://host:8786")])
def test_dask_gets_a_cluster_of_its_own_or_the_one_of_the_address(monkeypatch, here, jobs, cluster):
    log, made = [], []

    def local(**options):
        made.append(options)
        return Opened(log, "cluster")

    def client(where):
        made.append(where if isinstance(where, str) else where.name)
        return Opened(log, "client")

    here()
    monkeypatch.setattr(pool, "optional", {"distributed": SimpleNamespace(LocalCluster=local, Client=client)}.__getitem__)
    monkeypatch.setattr(pool.joblib, "cpu_count", lambda: 5)
    monkeypatch.setattr(pool.joblib, "parallel_config", lambda backend: Opened(log, backend))
    rows = rows_of(How(jobs=jobs, backend="dask", cluster=cluster), a_part(2))
    assert told(rows) == told(rows_of(How(), a_part(2)))
    own = {"n_workers": 5 if jobs == -1 else jobs, "threads_per_worker": 1, "dashboard_address": None}
    assert made == ([own, "cluster"] if cluster is None else [cluster])
    opened = [*(["open cluster"] if cluster is None else []), "open client", "open dask"]
    assert log == opened + [text.replace("open", "close") for text in reversed(opened)]


@pytest.mark.parametrize("running", [False, True])
def test_ray_is_begun_once(monkeypatch, here, running):
    log = []
    ray = SimpleNamespace(is_initialized=lambda: running, init=lambda **options: log.append(options))
    register = SimpleNamespace(register_ray=lambda: log.append("registered"))
    here()
    monkeypatch.setattr(pool, "optional", {"ray": ray, "ray.util.joblib": register}.__getitem__)
    monkeypatch.setattr(pool.joblib, "parallel_config", lambda backend: Opened([], backend))
    assert told(rows_of(How(backend="ray", cluster="auto"), a_part(2))) == told(rows_of(How(), a_part(2)))
    assert log == [*([] if running else [{"address": "auto", "ignore_reinit_error": True}]), "registered"]


def test_a_worker_begins_nothing_after_the_end_and_leaves_ctrl_c_to_who_sent_it(monkeypatch):
    part, asked = a_part(2), []
    piece = (part, 1, part.cases[1])
    monkeypatch.setattr(pool.signal, "signal", lambda *given: asked.append(given))
    assert pool._worked(4, piece, 0.0, time.time() - 1.0, os.getpid()) == (4, None)
    i, row = pool._worked(4, piece, 0.0, time.time() + 60.0, os.getpid())
    assert (i, row.order, row.values["square"]) == (4, 1, 1)
    assert (signal.SIGINT, signal.SIG_IGN) not in asked  # this is the process that gave the work
    pool._worked(4, piece, 0.0, None, os.getpid() + 1)
    assert (signal.SIGINT, signal.SIG_IGN) in asked


def test_outside_the_main_thread_nothing_is_changed_and_nothing_is_bounded():
    found = []

    def elsewhere():
        hook, shown = threading.excepthook, warnings.showwarning
        with quiet_after_ctrl_c(), limited(1e-3):
            time.sleep(0.05)
            found.append((threading.excepthook is hook, warnings.showwarning is shown))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [(True, True)]


def test_after_ctrl_c_threads_and_warnings_are_silent_and_before_it_they_are_not(monkeypatch):
    said = []
    monkeypatch.setattr(threading, "excepthook", lambda given: said.append("a thread died"))
    monkeypatch.setattr(warnings, "showwarning", lambda *given, **more: said.append("a warning"))
    before = signal.getsignal(signal.SIGINT)

    def both():
        threading.excepthook(None)
        warnings.showwarning("text", UserWarning, "file", 1)

    with quiet_after_ctrl_c():
        both()
        assert said == ["a thread died", "a warning"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        both()
    assert said == ["a thread died", "a warning"]
    assert signal.getsignal(signal.SIGINT) is before
    both()
    assert len(said) == 4
