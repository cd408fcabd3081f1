"""Forgetting, embedding spaces, memory, determinism and the network, on running jobs."""

import ctypes
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trust.figure import Figure
from trust.jobs import COMMANDS, TRAIN, make_workspace
from trust.kills import SECRET, find_traces, make_registry, make_vectors
from trust.processes import start_job

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000


def measure_forgetting(folder: Path, amount: int) -> Figure:
    """Forget an identity of `amount` photos: no byte of its vectors or name is in any file of the index."""
    from lookalike.search.registry import Registry

    index, secret = make_registry(folder / "forget"), make_vectors(amount, 5)
    half = amount // 2
    with Registry(index) as registry:
        registry.enrol(secret[:half], "new-7", [f"{SECRET}-{number}.jpg" for number in range(half)])
        registry.engine.snapshot("before")
        registry.decide("merge", "new-7", SECRET, author="ann")
        registry.enrol(secret[half:], SECRET)
        registry.engine.snapshot("after")
        had = find_traces(index, secret, SECRET)
        registry.forget(SECRET)
        problems = find_traces(index, secret, SECRET)  # while the database is open: its log, too
    problems += find_traces(index, secret, SECRET)
    if not had:
        problems.append("the search for bytes finds nothing before, either")
    files = sum(path.is_file() for path in index.rglob("*"))
    return Figure(
        f"{amount} photos in the index and two snapshots: {len(problems)} of {files} files contain a vector "
        "or name of them",
        "0",
        problems,
    )


def measure_spaces(folder: Path, amount: int) -> Figure:
    """Vectors of another model, of another preprocessing and of int8 weights, against every operation."""
    workspace = make_workspace(folder / "workspace")
    spaces = workspace / "spaces"
    shutil.rmtree(spaces, ignore_errors=True)
    spaces.mkdir()
    shutil.copytree(workspace / "runs/mine/model", spaces / "preprocessing")
    config = json.loads((spaces / "preprocessing/config.json").read_text())
    resizing = config["preprocess"]
    resizing["interpolation"] = "bicubic" if resizing["interpolation"] == "bilinear" else "bilinear"
    (spaces / "preprocessing/config.json").write_text(json.dumps(config))
    setups = [[*TRAIN, "seed=1", "epochs=1", "out=spaces/run"]]
    models = {"another preprocessing": "spaces/preprocessing", "another model": "spaces/run/model"}
    if amount > 2:
        exporting = [
            "export",
            "model=runs/mine/model",
            "dataset=data/mine",
            "precision=int8",
            "max_recall_loss=1",
        ]
        setups.append([*exporting, "max_gap=1", "progress=false", "out=spaces/int8"])
        models["int8"] = "spaces/int8"
    problems = []
    for words in setups:
        end = start_job(words, workspace).wait()
        problems += [f"{words[0]}: {end.err[-300:]}"] if end.code != 0 else []
    photo = str(next((workspace / "photos").rglob("*.png")))
    count = 0
    for name, model in list(models.items())[:amount]:
        for index in ("index/mine", "index/live"):
            jobs = [["search", "k=1"], ["search", "by=label"]]
            jobs += [["enrol", "identity=eve"]] if "live" in index else []
            for words in jobs:
                end = start_job(
                    [*words, f"index={index}", f"model={model}", f"image={photo}"], workspace
                ).wait()
                count += 1
                if end.code == 0 or end.is_crash or "cannot be compared" not in end.err:
                    problems.append(f"{words[0]} in {index} with {name}: code {end.code}: {end.err[-200:]}")
    return Figure(
        f"{count} operations on two engines with {', '.join(list(models)[:amount])}: "
        f"{len(problems)} accepted",
        "0",
        problems,
    )


def measure_training_memory(folder: Path, amount: int) -> Figure:
    """Train for at least `amount` steps; compare memory after a third of the time with the end."""
    workspace = make_workspace(folder / "workspace")
    shutil.rmtree(workspace / "soak", ignore_errors=True)
    words = [word for word in TRAIN if not word.startswith(("save_minutes", "epochs"))]
    process = start_job([*words, f"epochs={amount}", "save_minutes=1", "out=soak"], workspace)
    samples: list[tuple[float, int]] = []
    while process.is_alive():
        memory = _resident(process.pid)
        if memory and any((workspace / "soak").glob("history.csv")):
            samples.append((time.monotonic(), memory))
        time.sleep(0.2)
    end = process.wait()
    steps = max((int(path.name) for path in (workspace / "soak/state").glob("[0-9]*")), default=0)
    if end.code != 0 or len(samples) < 6:
        return Figure(f"ended with {end.code}", "at most 5 % more", [end.err[-300:] or "too few samples"])
    tail = samples[-max(3, len(samples) // 10) :]
    third = samples[len(samples) // 3 : len(samples) // 3 + max(3, len(samples) // 10)]
    before, after = (sorted(memory for _, memory in part)[len(part) // 2] for part in (third, tail))
    growth = after / before - 1
    return Figure(
        f"{steps:,} steps: {before >> 20} MB after a third, {after >> 20} MB at the end, {growth:+.1%}",
        "at most 5 % more",
        [f"grows by {growth:.1%}"] if growth > 0.05 else [],
    )


def _resident(pid: int) -> int:
    try:
        return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def measure_determinism(folder: Path, amount: int) -> Figure:
    """Train with one seed `amount` times, then with worker processes and with two threads.

    Runs and workers have to give the same bits; threads add in another order, which is measured.
    """
    from safetensors.numpy import load_file

    workspace = make_workspace(folder / "workspace")
    variants = {**{f"run {number}": [] for number in range(amount)}, "workers=2": ["workers=2"]}
    variants |= {"threads=2": ["threads=2"]}
    weights, problems = {}, []
    for name, more in variants.items():
        out = f"same/{name.replace(' ', '').replace('=', '')}"
        shutil.rmtree(workspace / out, ignore_errors=True)
        words = [
            word for word in TRAIN if word.partition("=")[0] not in {each.partition("=")[0] for each in more}
        ]
        end = start_job([*words, *more, f"out={out}"], workspace).wait()
        if end.code != 0:
            problems.append(f"{name}: {end.err[-300:]}")
            continue
        weights[name] = load_file(workspace / out / "model/model.safetensors")
    if problems:
        return Figure("trainings fail", "the same bits on the CPU", problems)
    first = weights["run 0"]
    differences = {
        name: max(
            float(abs(value.astype("f8") - first[key].astype("f8")).max()) for key, value in state.items()
        )
        for name, state in weights.items()
    }
    problems = [
        f"{name}: weights differ by {differences[name]:.1e}" for name in differences if differences[name]
    ]
    return Figure(
        f"{len(weights)} trainings with one seed ({', '.join(variants)}): weights differ by at most "
        f"{max(value for name, value in differences.items() if 'threads' not in name):.1e}; with two threads "
        f"by {differences['threads=2']:.1e}",
        "0 in repeated runs and with worker processes; with other numbers of threads it is stated",
        [problem for problem in problems if not problem.startswith("threads")],
    )


def isolate() -> None:
    """Give the process a network without any interface, and let it report what it tries to reach."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) != 0 and libc.unshare(NEW_USER | NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of its own")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.getaddrinfo", "socket.gethostbyname"):
            os.write(2, f"TRUST {event} {arguments!r}\n".encode())
        elif event in ("socket.connect", "socket.bind", "socket.sendto") and isinstance(arguments[1], tuple):
            os.write(2, f"TRUST {event} {arguments[1]!r}\n".encode())

    sys.addaudithook(watch)


def measure_network(folder: Path, amount: int, names: Sequence[str] = tuple(COMMANDS)) -> Figure:
    """Run the first `amount` jobs in network namespaces of their own: they work, and try to reach nothing."""
    workspace = make_workspace(folder / "workspace")
    shutil.rmtree(workspace / "alone", ignore_errors=True)
    photo = str(next((workspace / "photos").rglob("*.png")))
    calls = {name: COMMANDS[name].call(f"alone/{COMMANDS[name].out}") for name in names}
    calls |= {
        "search": ["search", "index=index/mine", f"image={photo}", "k=1"],
        "verify": ["verify", photo, photo, "model=runs/mine/model"],
        "info": ["info", "runs/mine"],
        "enrol": ["enrol", "index=index/live", f"image={photo}", "identity=eve"],
        "forget": ["forget", "index=index/live", "identity=eve"],
        "stats": ["prepare", "stats", "dataset=data/mine"],
        "recipes": ["recipes"],
    }
    problems = []
    for name, words in list(calls.items())[:amount]:
        end = start_job(words, workspace, before=isolate).wait()
        tried = [line for line in end.err.splitlines() if line.startswith("TRUST")]
        if end.code not in ((0, 3, 4) if name == "verify" else (0,)) or tried:
            problems.append(f"{name}: code {end.code}: {'; '.join(tried) or end.err[-300:]}")
    return Figure(
        f"{min(amount, len(calls))} jobs in private network namespaces: {len(problems)} that fail, listen, "
        "look up a name or connect",
        "0",
        problems,
    )
