"""Rendering pages: a template with style and script, as one self-contained file."""

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lookalike.data.bidi import show_bidi_controls
from lookalike.errors import LookalikeError
from lookalike.files import write_text
from lookalike.report import numbers
from lookalike.version import __version__
from lookalike.wording import count_noun

LARGEST = 15_000_000


def fill_template(template: str, values: dict[str, Any], own_assets: str = "page") -> str:
    """The page as text. Everything is escaped but the figures and our own style and script.

    Args:
        template: of the page.
        values: what it shows.
        own_assets: name of its script, `.js`, and of the style, `.css`, that comes after the one of all
            pages.
    """
    package_files = resources.files("lookalike.report")
    read = lambda name: package_files.joinpath(name).read_text(encoding="utf-8")  # noqa: E731
    script = read(f"{own_assets}.js")
    styles = dict.fromkeys(["page.css", f"{own_assets}.css"])
    environment = Environment(
        loader=FunctionLoader(read),
        autoescape=True,
        finalize=lambda value: numbers.bound(show_bidi_controls(value)) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        written=numbers.format_value, hundredths=numbers.hundredths, counted=counted_words
    )
    start = int(values.get("shared_start", 0))
    environment.filters["brief"] = lambda label: f"…{str(label)[start:]}" if start else label
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        values,
        style=Markup("".join(map(read, styles))),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=__version__,
    )


def counted_words(count: int, one: str = "", many: str = "") -> str:
    """A count with commas, and its noun if there is one."""
    return count_noun(count, one, many) if one else f"{count:,}"


def write_page(out: Path, page: str, remedy: str) -> None:
    """Write the page.

    Args:
        out: the .html file; one that exists is replaced.
        page: its text.
        remedy: what to do about one that is too large.

    Raises:
        LookalikeError: the page would be larger than 15 MB.
    """
    # File names that are not UTF-8 come as lone surrogates, which no file can hold.
    page = page.encode("utf-8", "replace").decode()
    size = len(page.encode())
    if size > LARGEST:
        raise LookalikeError(f"the page would be {size / 1e6:.0f} MB; {remedy}")
    write_text(out, page)
