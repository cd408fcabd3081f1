"""Settings of the docs site, which `make site` builds offline from README.md, docs/ and the docstrings."""

import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

import lookalike
import lookalike.metrics

PACKAGE = Path(lookalike.__file__).parent

project = "Lookalike"
author = "the Lookalike contributors"
copyright = author
version = release = lookalike.__version__

# The source folder is the repository, so that links between its pages work as they do in a checkout.
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "docs/*.md",
    "docs/api/*.md",
    "examples/README.md",
    "src/lookalike/sample/credits/README.md",
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "literal"
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # JSON with …, YAML with comments after a value

autodoc_typehints = "signature"
autodoc_member_order = "groupwise"
autodoc_default_options = {"members": True, "exclude-members": "forward, training"}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"Lookalike {version}"
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"sidebar_hide_name": False}

NAVIGATION = {
    "Data": ["docs/prepare", "docs/detect", "docs/loading"],
    "Training": [
        "docs/train",
        "docs/losses",
        "docs/optimisers",
        "docs/backbones",
        "docs/stages",
        "docs/hard-negatives",
        "docs/distillation",
        "docs/compression",
        "docs/several-processes",
        "docs/history",
        "docs/watch",
    ],
    "Results": [
        "docs/evaluate",
        "docs/compare",
        "docs/report",
        "docs/plots",
        "docs/explore",
        "docs/clean",
        "docs/search",
        "docs/text",
        "docs/verify",
        "docs/export",
        "docs/identify",
        "docs/enrol",
        "docs/engines",
        "docs/cluster",
        "docs/serve",
    ],
    "Reference": [
        "docs/command-line",
        "docs/api/lookalike",
        "docs/api/losses",
        "docs/api/miners",
        "docs/api/samplers",
        "docs/api/metrics",
        "docs/api/plots",
        "examples/README",
        "benchmarks/README",
    ],
    "Project": [
        "docs/architecture",
        "docs/trust",
        "SECURITY",
        "CONTRIBUTING",
        "CHANGELOG",
        "src/lookalike/sample/credits/README",
    ],
}

ENTRANCE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=README.html">
<title>Lookalike</title>
<a href="README.html">Lookalike</a>
"""
CODE_SPAN = re.compile(r"(`[^`]+`)")


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the README, which has none of its own in a checkout."""
    if page != root_doc:
        return
    for caption, pages in NAVIGATION.items():
        listed = "\n".join(f"/{name}" for name in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{listed}\n```\n"


def plot_modules() -> Iterator[str]:
    """Modules of the functions that `plot=` chooses from."""
    for file in sorted((PACKAGE / "conf" / "plot").glob("*.yaml")):
        yield from re.findall(r"^_target_: (lookalike\.plots\.\w+)\.", file.read_text(encoding="utf-8"), re.M)


def metric_modules() -> Iterator[str]:
    """Public modules of `lookalike.metrics`."""
    for module in pkgutil.iter_modules(lookalike.metrics.__path__, "lookalike.metrics."):
        if not module.name.rpartition(".")[2].startswith("_"):
            yield module.name


def add_modules(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the functions of every module to the pages of packages that export none of their own."""
    packages = {"docs/api/metrics": metric_modules, "docs/api/plots": plot_modules}
    for module in sorted(set(packages[page]())) if page in packages else ():
        heading = module.rpartition(".")[2].replace("_", " ").capitalize()
        source[0] += f"\n\n## {heading}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"


def to_restructured_text(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Turn the code spans of a docstring into literals, and escape the marks of reStructuredText."""
    for number, line in enumerate(lines):
        parts = CODE_SPAN.split(line)
        lines[number] = "".join(
            f"`{part}`" if CODE_SPAN.fullmatch(part) else re.sub(r"([*|\\]|(?<=\w)_(?=\W|$))", r"\\\1", part)
            for part in parts
        )


def write_entrance(app: Sphinx, error: Exception | None) -> None:
    """Let index.html lead to the README, which is the first page."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "index.html").write_text(ENTRANCE, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", add_modules)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", to_restructured_text, priority=100)
    app.connect("build-finished", write_entrance)
