"""Write README's measured sections and docs/findings.md from committed rows: `python benchmarks/readme.py`.

The page of a run, report.html, is written beside its rows. A test fails when they differ. README has a few of the findings, for
and against, docs/findings.md all of them. The findings are those of `odebridge bench quick --seed 0`, kept in
benchmarks/results/quick; work and precision is `odebridge bench solvers --seed 0`, kept in benchmarks/results/solvers; solver
against network is `odebridge bench solver-vs-network`, kept in benchmarks/results/solver-vs-network. The speed table is that of
the contests of `odebridge bench ensembles`, `nonstiff` and `solvers`, kept in the folders of those names.
"""

from __future__ import annotations

from pathlib import Path

from odebridge.bench.flows import FLOWS
from odebridge.bench.record import REPORT, read
from odebridge.bench.report import machines, sentences, write_report

RESULTS = Path(__file__).parent / "results" / "quick"
README = Path(__file__).parent.parent / "README.md"
PAGE = README.parent / "docs" / "findings.md"
HERE, THERE = "(benchmarks/", "(../benchmarks/"  # links of README, and of the page
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
SOLVERS, VERSUS = RESULTS.parent / "solvers", RESULTS.parent / "solver-vs-network"
FIRST, LAST = "<!-- versus: begin -->\n", "<!-- versus: end -->\n"
WORK, DONE = "<!-- solvers: begin -->\n", "<!-- solvers: end -->\n"
FAST, SLOW = "<!-- speed: begin -->\n", "<!-- speed: end -->\n"
SHOWN = {  # what README shows: by a phrase that each sentence alone has
    RESULTS: ("evaluations of SciPy LSODA", "Test accuracy on", "between the best mean"),
    SOLVERS: ("on stiff problems: ",),
    VERSUS: ("faster than every solver",),
}
SUITES = (("ensembles", "ensembles"), ("nonstiff", "nonstiff"), ("solvers", "single"))  # and the part
COMMANDS = "`odebridge bench ensembles`, `nonstiff` and `solvers`, `--seed 0`"
PEERS = {  # column: the contenders of which the fastest counts
    "CVODE": ("sundials:BDF",),
    "LSODA": ("scipy:odeint",),
    "SciPy Radau, RK45": ("scipy:Radau", "scipy:RK45"),
    "diffrax": ("diffrax:Kvaerno3", "diffrax:Kvaerno5", "diffrax:Tsit5", "diffrax:Dopri8"),
    "diffrax, corrected": ("diffrax:Kvaerno3+fix", "diffrax:Kvaerno5+fix"),
    "torchode": ("torchode:dopri5", "torchode:tsit5"),
    "torchdiffeq": ("torchdiffeq:dopri5",),
}


def section(run: Path, suite: str) -> str:
    """The findings of a committed run, one bullet each, with the machine."""
    where = "; ".join(machines(read(run).rows))
    lines = [f"`odebridge bench {suite}` on {where} ({_links(run)}):", ""]
    lines += [f"- {text}" for part in sentences([run]).values() for text in part]
    return "\n".join(lines) + "\n"


def versus() -> str:
    """The findings of solver against network, with what is missing in the record."""
    rows = read(VERSUS).rows
    families = dict.fromkeys(r["configuration"]["family"] for r in rows)
    timed = [
        f for f in families if any(r["configuration"]["family"] == f and r["configuration"]["what"] == "clock" for r in rows)
    ]
    missing = [f for f in FLOWS if f not in timed]
    left = f" Not in this record yet: {', '.join(missing)}." if missing else ""
    lines = [f"`odebridge bench solver-vs-network` on {'; '.join(machines(rows))} ({_links(VERSUS)}).{left}", ""]
    lines += [f"- {text}" for part in sentences([VERSUS]).values() for text in part]
    return "\n".join(lines) + "\n"


def _links(run: Path) -> str:
    folder = f"benchmarks/results/{run.name}"
    return f"[page]({folder}/{REPORT}), [rows]({folder}/results.jsonl)"


def speed() -> str:
    """For every contest: our trajectories per CPU second, and how many times longer the fastest of each kind of peer takes."""
    lines = [
        "| problem | error | ours, per CPU second | " + " | ".join(PEERS) + " |",
        "| --- " * (3 + len(PEERS)) + "|",
    ]
    every = [r for suite, part in SUITES for r in read(RESULTS.parent / suite).rows if r["part"] == part]
    for r in every:
        for target in dict.fromkeys(v["target"] for v in r["values"]["verdicts"]):
            found = [v for v in r["values"]["verdicts"] if v["target"] == target]
            own = [v["per_second"]["median"] for v in found if v["contender"].startswith("odebridge") and v["status"] == "ok"]
            if not own:
                continue
            cells = []
            for names in PEERS.values():
                ratios = [v["ratio"]["median"] for v in found if v["contender"] in names and v.get("ratio")]
                cells.append(f"{min(ratios):.2g}" if ratios and min(ratios) < 9.95 else f"{min(ratios):.0f}" if ratios else "")
            name = r["configuration"]["contest"]
            title = name if r["part"] != "single" else f"{name.removeprefix('one ')}, one trajectory"
            lines.append(f"| {title} | {target:.0e} | {max(own):,.0f} | " + " | ".join(cells) + " |")
    peers = dict.fromkeys(f"{name} {version}" for r in every for name, version in r["values"].get("peers", {}).items())
    where = "; ".join([*machines(every), *([", ".join(peers)] if peers else [])])
    return "\n".join([*lines, "", f"({where}; {COMMANDS}; rows in `benchmarks/results/`.)"]) + "\n"


def headlines() -> str:
    """The findings that README shows. ValueError where a phrase finds none, or two."""
    lines = []
    for run, phrases in SHOWN.items():
        every = [text for part in sentences([run]).values() for text in part]
        for phrase in phrases:
            (found,) = [text for text in every if phrase in text]
            lines.append(f"- {found}\n")
    return "".join(lines)


def updated(text: str) -> str:
    """README with the sections of today."""
    return replaced(text, (BEGIN, headlines(), END), (FAST, speed(), SLOW))


def page(text: str) -> str:
    """The page of all findings with the sections of today."""
    parts = (
        (BEGIN, section(RESULTS, "quick"), END),
        (WORK, section(SOLVERS, "solvers"), DONE),
        (FIRST, versus(), LAST),
    )
    return replaced(text, *((a, made.replace(HERE, THERE), b) for a, made, b in parts))


def replaced(text: str, *parts: tuple[str, str, str]) -> str:
    """The text between two marks made anew, for every part."""
    for begin, made, end in parts:
        head, rest = text.split(begin)
        text = head + begin + made + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
    PAGE.write_text(page(PAGE.read_text()))
    for record in (RESULTS, SOLVERS, VERSUS):
        write_report([record], record / REPORT)
