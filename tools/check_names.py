"""Check that names say what things are: no function named by a lone participle, no binding by a vague word.

A function does something or is a quantity, so its name is a verb with its object or a noun:
`rank_gallery`, `count_pairs`, `effective_rank`. `found()` or `told()` says neither. A variable, parameter or
attribute has the usual name of the thing: `match`, `index`, `target_cosine`, not `found`, `place`, `own`.
Functions are checked everywhere, bindings in the package only.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PARTICIPLE = re.compile(r"[a-z]{3,}(ed|wn|en)")

# Words that end like a participle and are none: verbs and nouns of the field.
NO_PARTICIPLES = {"embed", "feed", "flatten", "hidden", "listen", "open", "seed", "shed", "speed", "token"}

# fmt: off
VAGUE_FUNCTIONS = {
    "apart", "asked", "at", "chosen", "drawn", "found", "given", "held", "kept", "known", "near", "own",
    "place", "put", "said", "seen", "shown", "told", "where", "which", "within",
}

VAGUE_BINDINGS = {
    "apart", "asked", "at", "beside", "drawn", "found", "given", "held", "here", "how", "near", "own",
    "place", "places", "said", "saw", "there", "told", "wanted", "what", "where", "which",
}
# fmt: on

# Bindings that keep a vague word, by file and qualified name: something outside the code depends on them.
ALLOWED = {
    # Keys of the command line, which users type and which the documentation lists.
    ("lookalike/data/augment.py", "Augment.how"),
    ("lookalike/data/flip.py", "Flip.how"),
    ("lookalike/data/transforms.py", "Resize.how"),
    ("lookalike/detect/cropping.py", "Crops.which"),
    ("lookalike/detect/cropping.py", "Boxes.which"),
    ("lookalike/plots/query_sheet.py", "query_sheet.which"),
    ("lookalike/plots/roc_curves.py", "roc.at"),
    ("lookalike/plots/roc_curves.py", "det.at"),
    # Types of those keys.
    ("lookalike/detect/cropping.py", "Which"),
    ("lookalike/plots/query_sheet.py", "Which"),
    # Names in files: operating_point.json, clashes.csv.
    ("lookalike/evaluation/operating_point.py", "OperatingPoint.asked"),
    ("lookalike/prepare/merge.py", "Clash.what"),
    # Used by name in the template of the report.
    ("lookalike/report/classes.py", "Hub.found"),
}


def is_vague_function(name: str) -> bool:
    """Whether a function's name is a lone participle or a vague word; underscores around it do not count."""
    bare = name.strip("_")
    return bare in VAGUE_FUNCTIONS or (bool(PARTICIPLE.fullmatch(bare)) and bare not in NO_PARTICIPLES)


def is_vague_binding(name: str) -> bool:
    """Whether a variable, parameter, attribute or field is called by a vague word."""
    return name.strip("_").lower() in VAGUE_BINDINGS


def function_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every function and method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name


def binding_names(node: ast.AST, scope: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Line and qualified name of all that is bound; an attribute set on `self` belongs to its class."""
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (*scope, child.name)
        elif isinstance(child, ast.arg):
            yield child.lineno, ".".join((*scope, child.arg))
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.lineno, ".".join((*scope, child.id))
        elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            if isinstance(child.value, ast.Name) and child.value.id == "self":
                yield child.lineno, ".".join((*scope[:-1], child.attr))
        elif isinstance(child, ast.ExceptHandler) and child.name:
            yield child.lineno, ".".join((*scope, child.name))
        yield from binding_names(child, inner)


def find_problems(text: str, file: str, bindings: bool) -> list[tuple[int, str]]:
    """Line and reason for each name of a module that says nothing; `bindings` too, or functions only."""
    tree = ast.parse(text)
    problems = [
        (line, f"{name}: name the function by a verb and its object, or by a noun")
        for line, name in function_names(tree)
        if is_vague_function(name)
    ]
    if bindings:
        problems += [
            (line, f"{name}: use the name that the field has for this")
            for line, name in binding_names(tree)
            if is_vague_binding(name.rpartition(".")[2]) and (file, name) not in ALLOWED
        ]
    return sorted(set(problems))


def main(root: Path) -> int:
    """Check all modules below `root`; print every finding and return the exit code."""
    found_any = False
    for top in ("src", "tests", "benchmarks", "docs", "tools"):
        for path in sorted((root / top).rglob("*.py")):
            file = path.relative_to(root / top).as_posix()
            for line, reason in find_problems(path.read_text(encoding="utf-8"), file, bindings=top == "src"):
                print(f"{path.relative_to(root)}:{line}: {reason}")
                found_any = True
    return int(found_any)


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
