"""SIGKILL at random moments of every job that writes: nothing is lost, nothing is half written."""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trust.figure import Figure
from trust.jobs import COMMANDS, Command, fingerprint, make_workspace
from trust.processes import Ended, Process, start_job

QUICK = ("prepare", "prepare shrink", "embed", "index", "index sqlite", "prepare shards")
"""Commands that take a second or two."""
POLL = 0.002


def measure_kills(folder: Path, amount: int, names: Sequence[str] = ()) -> Figure:
    """`amount` kills in all: shared among the commands, enrolling and forgetting.

    Without `names`, all commands from 100 kills on, and those of `QUICK` below.
    """
    names = names or (tuple(COMMANDS) if amount >= 100 else QUICK)
    workspace = make_workspace(folder / "workspace")
    before = {name: fingerprint(workspace / name) for name in ("data", "runs", "emb", "index", "eval")}
    problems, kills = [], 0
    share = max(1, round(amount / (len(names) + 2)))
    for name in names:
        count, faults = _kill_command(COMMANDS[name], workspace, share)
        kills, problems = kills + count, problems + faults
    for name in before:
        if fingerprint(workspace / name) != before[name]:
            problems.append(f"{name}: changed")
    for work in (_kill_enrolment, _kill_forgetting):
        problems += work(workspace, folder / "registry", share)
        kills += share
    return Figure(
        f"{kills} kills of {len(names) + 2} jobs ({', '.join(names)}, enrol, forget): "
        f"{len(problems)} lost, half-written or different results",
        "0; the repeated command ends as one that was never interrupted",
        problems,
    )


def _kill_command(command: Command, workspace: Path, count: int) -> tuple[int, list[str]]:
    """Kill a command at `count` moments, repeat it to its end, and compare."""
    generator = random.Random(command.name)
    out, whole = f"killed/{command.out}", f"whole/{command.out}"
    shutil.rmtree(workspace / "killed", ignore_errors=True)
    writing, end = _run_whole(command, whole, workspace)
    if end.code != 0:
        return 0, [f"{command.name}: fails without a kill: {end.err}"]
    expected, problems = fingerprint(workspace / whole), []
    for number in range(count):
        process = start_job(command.call(out), workspace)
        _wait_for_output(workspace / out, process)
        end = process.kill_after(writing * generator.random() * 1.1)
        if command.name == "train" or not (workspace / out).exists():
            continue
        if fingerprint(workspace / out) != expected:
            problems.append(f"{command.name}: kill {number}: half-written {out}")
        _remove(workspace / out)
    end = start_job(command.call(out), workspace).wait()
    if end.code != 0:
        problems.append(f"{command.name}: cannot be repeated after kills: {end.err}")
    elif (difference := _differences(fingerprint(workspace / out), expected)) != []:
        problems.append(f"{command.name}: the repeated command gives other {', '.join(difference)}")
    return count, problems


def _differences(first: dict[str, str], second: dict[str, str]) -> list[str]:
    return sorted(name for name in {**first, **second} if first.get(name) != second.get(name))


def _run_whole(command: Command, out: str, workspace: Path) -> tuple[float, Ended]:
    """Run the command to its end; also returns the seconds from its first output."""
    if (workspace / out).exists():
        _remove(workspace / out)
    process = start_job(command.call(out), workspace)
    _wait_for_output(workspace / out, process)
    begun = time.monotonic()
    end = process.wait()
    return max(0.05, time.monotonic() - begun), end


def _wait_for_output(out: Path, process: Process) -> None:
    """Until the command begins to write, or has ended."""
    while process.is_alive() and not (out.exists() or _has_partial(out)):
        time.sleep(POLL)


def _has_partial(out: Path) -> bool:
    return out.parent.is_dir() and any(path.name.startswith(f".{out.name}.") for path in out.parent.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def make_vectors(count: int, seed: int) -> np.ndarray:
    """Random vectors of length 1, [count, 16]."""
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_registry(folder: Path) -> Path:
    """An index of three identities that changes."""
    from lookalike.search.index import Index

    shutil.rmtree(folder, ignore_errors=True)
    Index.build(
        make_vectors(6, 0), ["tom", "tom", "kitty", "kitty", "felix", "felix"], out=folder, engine="sqlite"
    )
    return folder


def enrol_many(folder: Path, count: int, seed: int = 3, prefix: str = "cat") -> None:
    """Enrol identities of two photos each, and print the number of each that is enrolled."""
    from lookalike.search.registry import Registry

    with Registry(folder) as registry:
        for number, pair in enumerate(make_vectors(2 * count, seed).reshape(count, 2, 16)):
            registry.enrol(pair, f"{prefix}{number}")
            print(number, flush=True)


def _kill_enrolment(workspace: Path, folder: Path, count: int) -> list[str]:
    """Kills while identities are enrolled: those that were acknowledged are there, and whole."""
    from lookalike.search.index import Index
    from lookalike.search.registry import Registry

    generator, problems = random.Random("enrol"), []
    for number in range(count):
        make_registry(folder)
        end = Process(enrol_many, folder, 400).kill_after(0.3 + 0.7 * generator.random())
        acknowledged = [int(line) for line in end.out.split("\n")[:-1]]
        with Registry(folder) as registry:
            counts = registry.identities()
            intact = registry.engine.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        lost = [each for each in acknowledged if counts.get(f"cat{each}") != 2]
        halves = [label for label, photos in counts.items() if photos != 2]
        if lost or halves or not intact:
            problems.append(f"enrol: kill {number}: lost {lost}, halves {halves}, intact {intact}")
        vectors = make_vectors(800, 3)
        index = Index.load(folder)
        expected = _brute_force(np.asarray(index.vectors), vectors[:5])
        if [index.search(vector, 1)[0].row for vector in vectors[:5]] != expected:
            problems.append(f"enrol: kill {number}: search differs from brute force")
    return problems


def _brute_force(stored: np.ndarray, queries: np.ndarray) -> list[int]:
    return (queries.astype(np.float64) @ stored.astype(np.float64).T).argmax(1).tolist()


SECRET = "Mrs Secret"


def forget_secret(folder: Path) -> None:
    """Forget the identity that `_kill_forgetting` enrolled."""
    from lookalike.search.registry import Registry

    with Registry(folder) as registry:
        registry.forget(SECRET)


def _kill_forgetting(workspace: Path, folder: Path, count: int) -> list[str]:
    """Kills while an identity is forgotten: the repeated command leaves no byte of it."""
    from lookalike.errors import LookalikeError
    from lookalike.search.registry import Registry

    generator, problems = random.Random("forget"), []
    secret = make_vectors(400, 5)
    for number in range(count):
        make_registry(folder)
        with Registry(folder) as registry:
            registry.enrol(secret[:200], "new-7")
            registry.engine.snapshot("before")
            registry.decide("merge", "new-7", SECRET)
            registry.enrol(secret[200:], SECRET)
            registry.engine.snapshot("after")
        process = Process(forget_secret, folder)
        _wait_for_forgetting(folder, process)
        process.kill_after(0.15 * generator.random())
        try:
            forget_secret(folder)
        except LookalikeError as error:
            if "has no identity" not in str(error):
                problems.append(f"forget: kill {number}: {error}")
        problems += [f"forget: kill {number}: {each}" for each in find_traces(folder, secret, SECRET)]
    return problems


def _wait_for_forgetting(folder: Path, process: Process) -> None:
    while process.is_alive() and not any(folder.rglob("*-wal")):
        time.sleep(POLL)


def find_traces(folder: Path, vectors: np.ndarray, name: str) -> list[str]:
    """The files below a folder that contain one of the vectors, or the name."""
    needles = [name.encode(), name.encode("utf-16-le"), *(vector.tobytes() for vector in vectors)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        f"{file.name} still contains it"
        for file in files
        if any(needle in content for content in (file.read_bytes(),) for needle in needles)
    ]
