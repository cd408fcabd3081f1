"""`make demo` from a clean copy with an empty cache: time to the first progress bar, time in all, peak
memory.

python benchmarks/demo.py

Goal on 2 cores: at most 6 minutes, of which at most 90 s before the first progress bar; peak memory at
most 3 GB.
"""

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from _common import show

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Clone the committed state, run `make demo` in it, and print what it took."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, "UV_CACHE_DIR": f"{scratch}/uv", "PIP_CACHE_DIR": f"{scratch}/pip"}
        started, first = time.perf_counter(), None
        with subprocess.Popen(
            ["make", "demo"],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                if first is None and "prepare" in line:
                    first = time.perf_counter() - started
        total = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        shutil.rmtree(clone)
        if process.returncode:
            raise SystemExit(f"make demo failed with exit code {process.returncode}")
    row = [f"{first or total:.0f} s", f"{total / 60:.1f} min", f"{peak:.2f} GiB"]
    show("make demo, clean clone, empty cache", ["first step after", "in all", "peak memory"], [row])


if __name__ == "__main__":
    main()
