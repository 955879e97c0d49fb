"""How much memory there still is for this process, and how much of it something takes."""

import ctypes
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

LOOK_EVERY_S = 0.002
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def free_bytes() -> int:
    """What this process may still take, by the machine, by the control groups that it is in, by its own limit."""
    return min(psutil.virtual_memory().available, *_left_of_address_space(), *_left_in_cgroups())


def _left_of_address_space() -> Iterator[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield max(limit - psutil.Process().memory_info().vms, 0)


def _left_in_cgroups() -> Iterator[int]:
    """Of containers and job queues, of either version of control groups; files that are only cached don't count."""
    lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines() if OWN_CGROUPS.exists() else []
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind not in ("", "memory"):
            continue
        root = CGROUPS / kind
        limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kind else ("memory.max", "memory.current")
        below = root / path.lstrip("/")
        for folder in (below, *below.parents):
            if folder.is_relative_to(root) and (folder / limit).exists() and (folder / used).exists():
                yield from _left(folder, limit, used)


def _left(folder: Path, limit: str, used: str) -> Iterator[int]:
    allowed = (folder / limit).read_text(encoding="utf-8").strip()
    if allowed != "max":
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        cached = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
        yield max(int(allowed) - int((folder / used).read_text(encoding="utf-8")) + cached, 0)


def trim() -> None:
    """Have malloc give back what it keeps to use again (glibc's does): in there one would not see what something takes."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def peak_bytes(action: Callable[[], None]) -> int:
    """The most that this process held while the action ran beyond what it needed before."""
    trim()
    before = psutil.Process().memory_info().rss
    return max((_kernels_peak if _forget_peak() else _watched_peak)(action) - before, 0)


def _forget_peak() -> bool:
    """Have the kernel begin anew with the most that this process held (proc(5): clear_refs); False where it can't."""
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
        return "VmHWM:" in STATUS.read_text(encoding="ascii")
    except OSError:
        return False


def _kernels_peak(action: Callable[[], None]) -> int:
    action()
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _watched_peak(action: Callable[[], None]) -> int:
    """The same from looking again and again: too low where the processor has no time for it."""
    process, ended = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(LOOK_EVERY_S):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        action()
    finally:
        ended.set()
        watcher.join()
    return max(seen)
