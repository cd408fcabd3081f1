"""Two jobs on one folder: the second is told who holds it."""

import re
import time
from contextlib import suppress
from pathlib import Path

from trust.figure import Figure
from trust.jobs import COMMANDS, leftovers, make_workspace
from trust.processes import Process, start_job


def measure_holders(folder: Path, amount: int) -> Figure:
    """`amount` pairs of jobs with one out=, started one after the other; and two writers on an index."""
    workspace = make_workspace(folder / "workspace")
    problems: list[str] = []
    names = ("train", "prepare shrink", "clean", "export")[:amount]
    for name in names:
        command = COMMANDS[name]
        more = ["epochs=4000"] if name == "train" else []
        out = workspace / "twice" / command.out
        first = start_job([*command.call(f"twice/{command.out}"), *more], workspace)
        while first.is_alive() and not _is_held(out):
            time.sleep(0.002)
        first.stop()
        second = start_job([*command.call(f"twice/{command.out}"), *more], workspace).wait()
        first.resume()
        if name == "train":
            first.kill_after(0)
        else:
            end = first.wait()
            problems += [f"{name}: the first fails: {end.err[-200:]}"] if end.code != 0 else []
            problems += [f"{name}: leaves {left}" for left in leftovers(workspace / "twice")]
        if second.code == 0 or not re.search(rf"process {first.pid}\b", second.err) or second.is_crash:
            problems.append(f"{name}: the second is told {second.err[-300:]!r}, code {second.code}")
    problems += _write_twice(folder)
    return Figure(
        f"{len(names)} pairs of jobs and two writers on an index: {len(problems)} not told who holds it, or "
        "interleaved",
        "0",
        problems,
    )


def _is_held(out: Path) -> bool:
    if (out / "state" / ".lock").exists():
        return any((out / "state").glob("[0-9]*"))
    locks = Path("/proc/locks").read_text().split("\n")
    for partial in out.parent.glob(f".{out.name}.*") if out.parent.is_dir() else ():
        with suppress(FileNotFoundError):  # renamed meanwhile
            number = partial.stat().st_ino
            if any(f":{number} " in line for line in locks):
                return True
    return False


def _write_twice(folder: Path) -> list[str]:
    """Two processes enrol at once: every enrolment that returned is there, from both."""
    from lookalike.search.registry import Registry
    from trust.kills import enrol_many, make_registry

    registry_folder = make_registry(folder / "writers")
    writers = [Process(enrol_many, registry_folder, 60, seed, f"writer{seed}-") for seed in (1, 2)]
    ends = [writer.wait() for writer in writers]
    with Registry(registry_folder) as registry:
        counts = registry.identities()
    lost = [
        f"writer {seed}: {number} is lost"
        for seed, end in enumerate(ends, 1)
        for number in end.out.split()
        if counts.get(f"writer{seed}-{number}") != 2
    ]
    return [*lost, *(f"writer fails: {end.err[-300:]}" for end in ends if end.code != 0)]
