"""`lookalike JOB key=value …`: finds the job, checks the config, runs, and turns errors into plain lines.

Exit codes: 0 done, 1 the job failed, 2 the command line or config is wrong; `verify` has two more for its
answer.
"""

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from lookalike.cli import JOBS, about_job, module
from lookalike.console import show_messages
from lookalike.errors import LISTED, ConfigError, DataError, LookalikeError

log = logging.getLogger("lookalike")
FLAGS = {
    **dict.fromkeys(("-h", "--help", "-help", "-?"), "help"),
    **dict.fromkeys(("-v", "--verbose", "-verbose"), "verbose"),
    **dict.fromkeys(("-V", "--version", "-version"), "version"),
}
TRAINING_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "safetensors", "matplotlib", "scipy")
"""Packages that the light installation for exported models lacks."""
DEBUG = "LOOKALIKE_DEBUG"
"""Environment variable: with any value but 0, errors show their traceback."""
NO_SPACE = re.compile(
    r"no space left on device|disk quota exceeded|\d+ requested and \d+ written", re.IGNORECASE
)
NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    flags = {FLAGS[word] for word in words if word in FLAGS}
    rest = [word for word in words if word not in FLAGS]
    if rest[:1] == ["help"] or (len(rest) > 1 and rest[-1] == "help"):
        flags.add("help")
        rest.remove("help")
    try:
        code = _run(rest, flags)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return _report_failure(error, words, "verbose" in flags)
    return code


def _run(words: list[str], flags: set[str]) -> int:
    if "version" in flags:
        from lookalike.version import __version__

        return _print_result(__version__)
    if not words:
        return _help_page(verbose="help" in flags)
    job, *arguments = about_job(words)
    _check_job(job, arguments)
    named, paths = _sort_arguments(job, arguments)
    if "help" in flags:
        return _help(job, named)
    return _run_job(job, named, paths, verbose="verbose" in flags)


def _sort_arguments(job: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments for keys, and words without one for the jobs that take them."""
    from lookalike.config import catalogue
    from lookalike.config.arguments import sort_arguments

    keys = [*catalogue.keys(job), *catalogue.groups(job), "experiment", "conf_dir"]
    if arguments and "=" not in arguments[0] and (hint := _suggest_job(job, arguments[0])):
        raise ConfigError(f"{arguments[0]}: every argument is written key=value{hint}")
    return sort_arguments(arguments, keys, bool(JOBS[job].words), JOBS[job].example)


def _run_job(job: str, named: list[str], paths: list[str], verbose: bool) -> int:
    from lookalike.config import load

    main_process = os.environ.get("RANK", "0") == "0"  # torchrun starts several, which need not all tell
    level = logging.DEBUG if verbose else logging.INFO
    _add_current_folder()
    work = module(job)
    with show_messages(level if main_process else logging.CRITICAL):
        result = work.main(load(job, work.Config, named, **({JOBS[job].words: paths} if paths else {})))
    if isinstance(result, int):
        return result
    if result is not None:
        _print_result(str(result))
    return 0


def _help_page(verbose: bool) -> int:
    """Without a job nothing can run: the same text, as an error."""
    from lookalike.config import usage

    text = usage.main_usage([(name, job.summary) for name, job in JOBS.items()], JOBS["train"].example)
    print(text, file=sys.stdout if verbose else sys.stderr)
    return 0 if verbose else 2


def _help(job: str, arguments: list[str]) -> int:
    from lookalike.config import usage

    return _print_result(
        usage.job_usage(job, JOBS[job].summary, JOBS[job].example, module(job).Config, arguments)
    )


def _print_result(text: str) -> int:
    print(text)
    return 0


def _check_job(job: str, arguments: Sequence[str]) -> None:
    from lookalike.config.wording import did_you_mean

    if job in JOBS:
        return
    if job.split()[:1] != [job] and job.split()[:1] and job.split()[0] in JOBS:
        raise ConfigError(f"{job}: is one word with spaces; remove the quotes around the command")
    later = next((word for word in arguments if word in JOBS), None)
    if later:
        raise ConfigError(f"{job}: the job must come first: `lookalike {later} …`, and the rest after it")
    if "=" in job or job.startswith("-"):
        raise ConfigError(f"{job}: a job comes first, as in `{JOBS['train'].example}`")
    raise ConfigError(f"{job}: no such job.{did_you_mean(job, JOBS)} Jobs: {', '.join(JOBS)}")


def _suggest_job(job: str, word: str) -> str:
    """A hint at `prepare stats` for `prepare statistics`; none for a word that is a path."""
    from lookalike.config.wording import closest_names

    further_words = [name.removeprefix(f"{job}-") for name in JOBS if name.startswith(f"{job}-")]
    nearest_words = [each for each in further_words if len(word) > 2 and word.startswith(each[:3])]
    nearest_words = closest_names(word, further_words, limit=1) or nearest_words
    if not nearest_words or "/" in word or Path(word).exists():
        return ""
    return f". Did you mean `lookalike {job} {nearest_words[0]}`?"


def _add_current_folder() -> None:
    """Let `_target_: my_module.Thing` find my_module.py in the current folder, after everything installed."""
    current_folder = str(Path.cwd())
    if current_folder not in sys.path:
        sys.path.append(current_folder)


def _report_failure(error: BaseException, words: Sequence[str], verbose: bool) -> int:
    """Say what went wrong in plain words; the traceback of a bug goes into a file, unless it is asked for."""
    message = _error_message(error)
    if verbose or os.environ.get(DEBUG, "0") != "0":
        traceback.print_exception(error)
    elif message is None:
        message = _report_bug(error, words)
    if message is not None:
        print(f"lookalike: {_printable(message)}", file=sys.stderr)
    if isinstance(error, DataError) and len(error.problems) > LISTED:
        rest = [f"  {problem}" for problem in error.problems[LISTED:]] if verbose else ["  (-v lists all)"]
        print("\n".join(rest), file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def _report_bug(error: BaseException, words: Sequence[str]) -> str:
    """One line on an error that nobody expected; what is needed to find it goes into a file.

    The file is temporary, in the system's own folder: the user's folders hold results only.
    """
    import platform
    import shlex
    import tempfile

    from lookalike.version import __version__

    first = next(iter(str(error).splitlines()), "")
    summary = f"{type(error).__name__}: {first}" if first else type(error).__name__
    text = (
        f"lookalike {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"lookalike {shlex.join(words)}\n\n{''.join(traceback.format_exception(error))}"
    )
    try:
        handle, name = tempfile.mkstemp(prefix="lookalike-error-", suffix=".log")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
            file.write(text)
    except OSError:
        return f"unexpected error, a bug in Lookalike: {summary}. {DEBUG}=1 shows the traceback"
    return (
        f"unexpected error, a bug in Lookalike: {summary}. Details are in {name}; please report it "
        f"with that file. {DEBUG}=1 shows the traceback"
    )


def _printable(text: str) -> str:
    """Text that any terminal can show: file names may hold bytes that are no characters."""
    encoding = sys.stderr.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _error_message(error: BaseException) -> str | None:
    """The plain words for an error that a user can act on; None for a bug."""
    imports = [cause.name for cause in _causes(error) if isinstance(cause, ImportError)]
    missing = next((name for name in imports if name in TRAINING_PACKAGES), None)
    if missing is not None:
        return f"this job needs {missing}, which is not installed: pip install 'lookalike[train]'"
    if isinstance(error, LookalikeError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted by Ctrl-C"
    full = next((cause for cause in _causes(error) if _is_full_disk(cause)), None)
    if full is not None:
        filename = getattr(full, "filename", None)
        return (
            f"the disk is full: could not write {filename or 'the result'}. "
            "Free some space, or choose another out="
        )
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return (
            "out of memory. Use smaller batches or images, or chunk=… in training"
            f" ({str(error).splitlines()[0] if str(error) else 'allocation failed'})"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def _is_full_disk(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or NO_SPACE.search(str(error)) is not None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it; the chain may contain a cycle."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
