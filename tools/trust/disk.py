"""Full disks, read-only folders, missing permissions and a clock that is set back."""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trust.figure import Figure
from trust.jobs import COMMANDS, Command, fingerprint, leftovers, make_workspace
from trust.kills import QUICK
from trust.processes import Process, run_words

NEW_MOUNTS, PRIVATE, READ_ONLY, REMOUNT, BIND = 0x20000, 1 << 18 | 1 << 14, 1, 1 << 5, 1 << 12
NEW_USER = 0x10000000
VERSION, OVERRIDES = 0x20080522, (1, 2)
"""Version 3 of the capabilities of Linux, and those by which root may write and read anything."""
PAGE = 4096
SHARES = (0.02, 0.5, 0.95)
"""Sizes of the full disk, as shares of what the job needs."""
FORBIDDEN = ("Traceback (most recent call last)", "a bug in Lookalike")


def measure_disks(folder: Path, amount: int, names: Sequence[str] = ()) -> Figure:
    """Every job with an output on `amount` full disks each, a read-only one, one without permission, and
    with a clock that is set back by ten years.
    """
    names = names or (tuple(COMMANDS) if amount > 1 else (*QUICK, "train", "clean"))
    workspace = make_workspace(folder / "workspace")
    problems: list[str] = []
    runs = 0
    for name in names:
        process = Process(try_disks, COMMANDS[name], workspace, SHARES[:amount])
        end = process.wait()
        lines = [json.loads(line) for line in end.out.splitlines() if line.startswith("{")]
        runs += len(lines)
        if end.code != 0 or not lines:
            problems.append(f"{name}: {end.err[-400:]}")
        problems += [f"{name}: {line['kind']}: {problem}" for line in lines for problem in line["problems"]]
    return Figure(
        f"{runs} runs of {len(names)} jobs ({', '.join(names)}) on full, read-only and forbidden folders and "
        f"with the clock set back: {len(problems)} without a clear message, with a leftover or a changed "
        "earlier result",
        "0",
        problems,
    )


def try_disks(command: Command, workspace: Path, shares: Sequence[float]) -> int:
    """Run the command under each fault, in a mount namespace of this process; prints a line for each."""
    target = workspace / "disk" / command.name.replace(" ", "_")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    code = _run_forked(command, workspace, target / "whole", None)
    needed = _size_of(target / "whole")
    if code[0] != 0:
        print(json.dumps({"kind": "no fault", "problems": [code[1]]}), flush=True)
        return 0
    mounted = _enter_namespace()
    for share in shares if mounted else ():
        _mount_small(target, max(2, int(share * needed)) * PAGE)
        _report("full", _try_fault(command, workspace, target, None))
        _libc().umount2(os.fsencode(target), 2)
    if mounted:
        _libc().mount(os.fsencode(target), os.fsencode(target), None, BIND, None)
        _libc().mount(None, os.fsencode(target), None, REMOUNT | BIND | READ_ONLY, None)
        _report("read-only", _try_fault(command, workspace, target, None))
        _libc().umount2(os.fsencode(target), 2)
    target.chmod(0o555)
    _report("permission", _try_fault(command, workspace, target, drop_overrides))
    target.chmod(0o755)
    code = _run_forked(command, workspace, target / "early", set_clock_back)
    is_same = code[0] == 0 and fingerprint(target / "early") == fingerprint(target / "whole")
    _report("clock", [] if is_same else [f"other result, code {code[0]}: {code[1]}"])
    return 0


def _report(kind: str, problems: list[str]) -> None:
    print(json.dumps({"kind": kind, "problems": problems}), flush=True)


def _try_fault(command: Command, workspace: Path, target: Path, before: Any) -> list[str]:
    """What is wrong with how the command ends where it cannot write."""
    previous = target / "previous.txt"
    if os.access(target, os.W_OK) and before is None:
        try:
            previous.write_text("precious")
        except OSError:
            previous = target
    contents = sorted(path.name for path in target.iterdir())
    code, text = _run_forked(command, workspace, target / "new", before)
    problems = []
    if code == 0:
        problems.append("ends with 0")
    if any(word in text for word in FORBIDDEN):
        problems.append(f"no clear message: {text[-300:]}")
    elif str(target.name) not in text and "disk is full" not in text:
        problems.append(f"the message does not name the folder: {text[-300:]}")
    remaining = sorted(path.name for path in target.iterdir())
    if remaining != contents and not _is_resumable(command, target / "new"):
        problems.append(f"leaves {sorted(set(remaining) - set(contents))}")
    if leftovers(target):
        problems.append(f"leaves {leftovers(target)}")
    if previous.is_file() and previous.read_text() != "precious":
        problems.append("an earlier file was changed")
    return problems


def _is_resumable(command: Command, out: Path) -> bool:
    """Training that has a checkpoint keeps it."""
    return command.name == "train" and any((out / "state").glob("[0-9]*"))


def _run_forked(command: Command, workspace: Path, out: Path, before: Any) -> tuple[int, str]:
    """The exit code and messages of the command in a child of this process, within its namespace."""
    log = workspace / f"log-{os.getpid()}"
    child = os.fork()
    if child == 0:
        status = 99
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            if before is not None:
                before()
            status = run_words(command.call(str(out.with_suffix(Path(command.out).suffix))), workspace)
        except BaseException as error:
            os.write(2, f"Traceback (most recent call last): {error!r}".encode())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    text = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    return os.waitstatus_to_exitcode(status), text


def _size_of(out: Path) -> int:
    """Number of pages of a tmpfs that a result takes."""
    files = [out, *out.parent.glob(f"{out.name}.*"), *out.rglob("*")]
    return sum(1 if file.is_dir() else 1 + file.stat().st_size // PAGE for file in files if file.exists())


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _enter_namespace() -> bool:
    """Give this process mounts of its own; False where that is not allowed."""
    uid, gid = os.getuid(), os.getgid()
    if _libc().unshare(NEW_MOUNTS) != 0:
        if _libc().unshare(NEW_USER | NEW_MOUNTS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    return _libc().mount(None, b"/", None, PRIVATE, None) == 0


def _mount_small(target: Path, size: int) -> None:
    if _libc().mount(b"tmpfs", os.fsencode(target), b"tmpfs", 0, f"size={size}".encode()) != 0:
        raise OSError(ctypes.get_errno(), "a small tmpfs cannot be mounted")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_overrides() -> None:
    """Let permissions hold for this process even if it runs as root."""
    header, sets = _Header(VERSION, 0), (_Sets * 2)()
    _libc().capget(ctypes.byref(header), sets)
    for number in OVERRIDES:
        sets[0].effective &= ~(1 << number)
        sets[0].permitted &= ~(1 << number)
    if _libc().capset(ctypes.byref(header), sets) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def set_clock_back() -> None:
    """Let the clock of this process show a time ten years ago, and fall back a second at every look."""
    import datetime
    import time

    true, looks = time.time, [0]

    def earlier() -> float:
        looks[0] += 1
        return true() - 10 * 365 * 86400 - looks[0]

    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Earlier":
            return cls.fromtimestamp(earlier(), tz)

    time.time = earlier
    datetime.datetime = Earlier  # type: ignore[misc]
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("lookalike") and "datetime" in vars(module):
            module.datetime = Earlier  # type: ignore[attr-defined]
