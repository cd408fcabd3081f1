"""Measure how large and how entangled the package is.

python tools/measure.py [CHECKOUT]

Prints, for this checkout or another one: files and lines by package, the share of functions with a vague
name, import depth and cycles, and the longest argument lists. Then it traces a short training on the CPU
with `sys.setprofile`, and prints the files of the package that are entered up to the first step of the
optimizer and in a later step, how often a step switches between files, which modules receive the config
of `train`, and calls from a lower layer into a higher one. Nothing is written outside a temporary
folder.
"""

import ast
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from check_names import function_names, is_vague_function

STEPS = 10
BATCH = 8
LAYERS = {
    **dict.fromkeys(("cli", "jobs", "config"), 6),
    **dict.fromkeys(("report", "explore", "clean", "cluster"), 5),
    **dict.fromkeys(("training", "evaluation", "evaluate", "protocols", "refine", "search"), 4),
    **dict.fromkeys(("ranking", "embeddings", "plots"), 3),
    **dict.fromkeys(("model", "losses", "metrics", "prepare", "detect", "trackers", "miners", "samplers"), 2),
    "data": 1,
}
"""Packages by height, old names included; all others are at the bottom."""


def read_modules(source: Path) -> dict[str, Path]:
    """Module name to file, for all modules below `source`."""
    return {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(source.rglob("*.py"))
    }


def package_of(module: str) -> str:
    """First name below `lookalike`; empty for the root."""
    return module.partition(".")[2].partition(".")[0]


def is_type_checking(node: ast.AST) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree: ast.AST, runtime: bool) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported, or all of them."""
    for node in ast.iter_child_nodes(tree):
        skipped = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(
            node
        )
        if runtime and skipped:
            continue
        yield node
        yield from statements(node, runtime)


def read_imports(modules: dict[str, Path], runtime: bool) -> dict[str, set[str]]:
    """Module to the modules that it imports; with `runtime`, only those that its own import loads."""
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        graph[module] = set()
        for node in statements(ast.parse(path.read_text(encoding="utf-8")), runtime):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                members = {name for name in names if name in modules}
                graph[module] |= members or ({node.module} & modules.keys())
            elif isinstance(node, ast.Import):
                graph[module] |= {alias.name for alias in node.names} & modules.keys()
        graph[module].discard(module)
    return graph


def find_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        todo = [*graph[start]]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += graph[module]
        reach[start] = seen
    groups = {
        tuple(sorted({start, *(other for other in reach[start] if start in reach[other])}))
        for start in graph
        if start in reach[start]
    }
    return [list(group) for group in sorted(groups)]


def import_depth(graph: dict[str, set[str]]) -> list[str]:
    """The longest chain of imports; an import that closes a cycle is left out."""
    longest: dict[str, list[str]] = {}

    def chain(module: str, path: frozenset[str]) -> list[str]:
        if module not in longest:
            below = [chain(other, path | {module}) for other in sorted(graph[module]) if other not in path]
            longest[module] = [module, *max(below, key=len, default=[])]
        return longest[module]

    return max((chain(module, frozenset()) for module in sorted(graph)), key=len)


def argument_lists(modules: dict[str, Path]) -> list[tuple[int, str]]:
    """Number of arguments, without self and cls, and name of every function, longest first."""
    found = []
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(each.arg not in ("self", "cls") for each in listed)
                found.append((count, f"{module}.{node.name}"))
    return sorted(found, reverse=True)


def print_static(checkout: Path) -> None:
    """Everything that the source says by itself."""
    modules = read_modules(checkout / "src")
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules.items()}
    print(f"\n{'package':<14}{'files':>6}{'lines':>8}")
    files, sizes = Counter(map(package_of, modules)), Counter()
    for module, count in lines.items():
        sizes[package_of(module)] += count
    for package in sorted(files, key=lambda name: -sizes[name]):
        print(f"{package or '(root)':<14}{files[package]:>6}{sizes[package]:>8}")
    print(f"{'all':<14}{len(modules):>6}{sum(lines.values()):>8}")
    names = [
        name
        for path in modules.values()
        for _, name in function_names(ast.parse(path.read_text(encoding="utf-8")))
    ]
    vague = sum(map(is_vague_function, names))
    print(
        f"\nfunctions named by a participle or vague word: {vague} of {len(names)}, {vague / len(names):.1%}"
    )
    runtime, all_imports = read_imports(modules, runtime=True), read_imports(modules, runtime=False)
    chain = import_depth(runtime)
    print(f"import depth: {len(chain)} ({' > '.join(name.removeprefix('lookalike.') for name in chain)})")
    for title, graph in (("at import", runtime), ("of any kind", all_imports)):
        cycles = find_cycles(graph)
        print(f"import cycles {title}: {len(cycles)}, {sum(map(len, cycles))} modules")
    longest = argument_lists(modules)[:5]
    print("longest argument lists: " + ", ".join(f"{name} ({count})" for count, name in longest))


def count_switches(files: list[str]) -> int:
    """How often the next call is in another file."""
    return sum(one != other for one, other in pairwise(files))


def is_train_config(value: object) -> bool:
    """Whether a value is the config of `train`."""
    kind = type(value)
    return kind.__name__ == "Config" and kind.__module__ in (
        "lookalike.cli._train_keys",
        "lookalike.cli.train",
        "lookalike.jobs.train",
    )


def is_part_of_config(value: object) -> bool:
    """Whether a value is a node that describes an object to build, or the dictionary of all values."""
    return type(value) is dict and (
        "_target_" in value or value.keys() >= {"dataset", "epochs", "best_metric"}
    )


class Tracer:
    """Notes which files of the package are entered, and marks every step of an optimizer.

    Attributes:
        files: file of each call into the package whose caller is in another file, in order.
        steps: length of `files` at each step.
        receivers: modules with a function that was given the config of `train`.
        part_receivers: modules to which a node of it was given, or the dictionary of its values.
        upward: pairs of functions, the first in a lower layer than the second, which it called.
    """

    def __init__(self, source: Path):
        self.source = f"{source}{os.sep}"
        self.files: list[str] = []
        self.steps: list[int] = []
        self.receivers: set[str] = set()
        self.part_receivers: set[str] = set()
        self.upward: set[tuple[str, str]] = set()

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        """Profile function: takes note of a call. Bodies of modules and classes are not calls."""
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED
        if event != "call" or not is_function or not code.co_filename.startswith(self.source):
            return
        name = self.module(code.co_filename)
        self.files.append(name)
        values = list(frame.f_locals.values())
        if any(map(is_train_config, values)):
            self.receivers.add(name)
        elif any(map(is_part_of_config, values)):
            self.part_receivers.add(name)
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(self.source):
            caller = caller.f_back
        if caller is not None:
            other = self.module(caller.f_code.co_filename)
            if LAYERS.get(package_of(other), 0) < LAYERS.get(package_of(name), 0) and not self.steps:
                self.upward.add((f"{other}.{caller.f_code.co_name}", f"{name}.{code.co_name}"))

    def module(self, file: str) -> str:
        """Name of the module in a file."""
        return ".".join(Path(file[len(self.source) :]).with_suffix("").parts).removesuffix(".__init__")

    def report(self) -> dict[str, Any]:
        """The numbers to print; the last steps are those of training, earlier ones may be trials."""
        first = self.steps[-STEPS]
        start, end = self.steps[-3], self.steps[-2]
        step = self.files[start:end]
        without_reading = [name for name in step if package_of(name) != "data"]
        return {
            "before": sorted(set(self.files[:first])),
            "step": sorted(set(step)),
            "switches": count_switches(step),
            "without_reading": len(set(without_reading)),
            "switches_without_reading": count_switches(without_reading),
            "receivers": sorted(self.receivers),
            "part_receivers": sorted(self.part_receivers - self.receivers),
            "upward": sorted(self.upward),
        }


def trace(checkout: Path, folder: Path) -> None:
    """Train for one epoch of STEPS steps under the tracer, in this process; writes trace.json."""
    import runpy

    import torch
    from PIL import Image
    from torch.optim.optimizer import register_optimizer_step_post_hook

    torch.set_num_threads(1)
    for label in range(STEPS):
        photos = folder / "photos" / f"class {label}"
        photos.mkdir(parents=True)
        for number in range(BATCH):
            Image.new("RGB", (40, 40), (25 * label, 30 * number, 90)).save(photos / f"{number}.png")
    rows = [
        f"photos/class {label}/{number}.png,{label},train"
        for label in range(STEPS)
        for number in range(BATCH)
    ]
    (folder / "table.csv").write_text("\n".join(["path,label,split", *rows]) + "\n", encoding="utf-8")
    words = f"dataset={folder / 'table.csv'} out={folder / 'run'} backbone=small_cnn image_size=32 dim=16"
    words += f" epochs=1 val_share=0 sampler=shuffle sampler.batch_size={BATCH} loss=proxy_anchor"
    words += " progress=false device=cpu"
    tracer = Tracer(checkout / "src")
    register_optimizer_step_post_hook(lambda *_: tracer.steps.append(len(tracer.files)))
    sys.argv = ["lookalike", "train", *words.split()]
    sys.setprofile(tracer)
    try:
        runpy.run_module("lookalike", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.setprofile(None)
    (folder / "trace.json").write_text(json.dumps(tracer.report()), encoding="utf-8")


def print_trace(checkout: Path) -> None:
    """What a training enters."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        command = [sys.executable, __file__, "--trace", str(checkout), str(folder)]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the training failed:\n{done.stdout}{done.stderr}")
        counts = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
    print(f"\nfiles entered up to the first step: {len(counts['before'])}")
    print(
        f"files entered in a later step: {len(counts['step'])}, switches between files: {counts['switches']}"
    )
    print(f"  without `data`: {counts['without_reading']}, {counts['switches_without_reading']}")
    print("  " + ", ".join(name.removeprefix("lookalike.") for name in counts["step"]))
    print(f"modules that receive the config of train: {len(counts['receivers'])}")
    print("  " + ", ".join(name.removeprefix("lookalike.") for name in counts["receivers"]))
    print(f"further modules that receive parts of it: {len(counts['part_receivers'])}")
    print("  " + ", ".join(name.removeprefix("lookalike.") for name in counts["part_receivers"]))
    print(f"calls from a lower layer into a higher one before the first step: {len(counts['upward'])}")
    for caller, called in counts["upward"]:
        print(f"  {caller} > {called}")


def main(words: list[str]) -> None:
    """Print all measurements of a checkout."""
    if words[:1] == ["--trace"]:
        trace(Path(words[1]), Path(words[2]))
        return
    checkout = Path(words[0]).resolve() if words else Path(__file__).resolve().parents[1]
    print(f"python tools/measure.py {' '.join(words)}".strip())
    print_static(checkout)
    print_trace(checkout)


if __name__ == "__main__":
    main(sys.argv[1:])
