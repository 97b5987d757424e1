"""Shows a suite while it runs: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from odebridge.bench.runner import Event

HEARTBEAT = 5.0  # seconds between lines where there is no terminal


class Display:
    """Use: `with Display() as show: quick(tell=show)`. Runs that did not succeed are named with their message at once."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.bars = Progress(
            TextColumn("{task.fields[part]:9}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[label]}"),
            console=self.console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.began: dict[str, float] = {}
        self.spoke = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def __call__(self, event: Event) -> None:
        """Before and after every run."""
        if event.row is not None and event.row.status != "ok":
            said = [event.label, event.row.status, *event.row.message.splitlines()[:1]]
            self._line(f"  {escape(': '.join(said))}")
        if self.console.is_terminal:
            self._bar(event)
        else:
            self._plain(event)

    def _bar(self, event: Event) -> None:
        if event.part not in self.tasks:
            self.tasks[event.part] = self.bars.add_task("", total=event.total, part=event.part, label="")
        label = escape(event.label) if event.done < event.total else ""
        self.bars.update(self.tasks[event.part], completed=event.done, label=label)

    def _plain(self, event: Event) -> None:
        now = time.monotonic()
        first = event.part not in self.began
        began = self.began.setdefault(event.part, now)
        if first or event.done == event.total or now - self.spoke > HEARTBEAT:
            self.spoke = now
            left = _left(now - began, event)
            self._line(f"{event.part} {event.done}/{event.total}, {now - began:.0f} s{left}: {escape(event.label)}")

    def _line(self, text: str) -> None:
        self.bars.console.print(text, highlight=False, soft_wrap=True)


def _left(passed: float, event: Event) -> str:
    """At the pace so far."""
    if not 0 < event.done < event.total:
        return ""
    return f", about {passed / event.done * (event.total - event.done):.0f} s left"
