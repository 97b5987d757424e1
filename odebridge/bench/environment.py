"""Where a run took place: versions, machine, device. Nothing here names a person, a host or a folder."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("odebridge", "torch", "numpy", "scipy")


def version_of(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages and of Python; "not installed" where there is none."""
    found = {name: version_of(name) or "not installed" for name in packages}
    return {**found, "python": platform.python_version()}


def cpu_model() -> str:
    """The processor's own name, or what the platform says of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine() or "unknown"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1


def device_name(device: str) -> str:
    """A device in words: the processor's or the graphics card's name."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_model()


def environment() -> dict[str, object]:
    """What a reader needs to judge the times of a run."""
    return {
        "versions": versions(),
        "cpu": cpu_model(),
        "cores": cores(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """The commit of the working tree that this package lies in, "+" for changes since; "unknown" outside of one."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
