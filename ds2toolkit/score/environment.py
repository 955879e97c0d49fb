"""The machine that a figure was measured on, in a few words."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def environment() -> dict[str, str | int]:
    """CPU, number of cores, versions of Python and of torch (which is not imported)."""
    found: dict[str, str | int] = {"cpu": cpu(), "cores": os.cpu_count() or 1, "python": platform.python_version()}
    try:
        found["torch"] = version("torch")
    except PackageNotFoundError:
        pass
    return found


def cpu() -> str:
    """The name that Linux knows, elsewhere what Python knows."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
