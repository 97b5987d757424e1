"""Benchmark suites as functions, their records as JSON lines, and reports as one HTML page."""

from __future__ import annotations

from odebridge.bench.quick import quick
from odebridge.bench.record import Results, Row, RunFolder, read
from odebridge.bench.report import write_report

__all__ = ["Results", "Row", "RunFolder", "quick", "read", "write_report"]
