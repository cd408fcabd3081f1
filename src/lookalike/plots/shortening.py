"""Shortening long names: dropping a common prefix, wrapping, or cutting the middle.

Everything is measured as drawn; a function says how wide a text is.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from lookalike.data.bidi import show_bidi_controls

Length = Callable[[str], float]
Fit = Callable[[str], str]
DOTS = "…"
BREAKS = " _-/\\.,:|"
WORTH = 4
"""Minimum length of a common prefix that is dropped."""


def plain(name: object) -> str:
    """A name on one line, without characters that change the text direction."""
    return show_bidi_controls(" ".join(str(name).split()))


def in_lines(text: str, width: float, length: Length, lines: int = 2) -> str:
    """The text on at most `lines` lines of `width`, with a middle ellipsis if it is too long."""
    broken = break_lines(text, width, length)
    if len(broken) <= lines:
        return "\n".join(broken)
    kept = bisect_right(
        range(1, len(text)), 0, key=lambda count: len(break_lines(cut(text, count), width, length)) > lines
    )
    return "\n".join(break_lines(cut(text, kept), width, length)[:lines])


def cut(text: str, count: int) -> str:
    """The first and last characters of the text, `count` in total, with an ellipsis between them."""
    head = text[: count - count // 2]
    tail = text[len(text) - count // 2 :]
    while tail and unicodedata.category(tail[0]) in ("Mn", "Me", "Cf"):
        tail = tail[1:]  # without the letter that it belongs to
    return f"{head.rstrip()}{DOTS}{tail.lstrip()}"


def break_lines(text: str, width: float, length: Length) -> list[str]:
    """Lines at most `width` wide, broken at a space or sign if possible; at least one character each."""
    lines = []
    while length(text) > width and len(text) > 1:
        fits = max(1, bisect_right(range(1, len(text) + 1), width, key=lambda count: length(text[:count])))
        if fits == len(text):  # the width of a beginning does not always grow with it
            break
        sign = max(text.rfind(each, fits // 3, fits) for each in BREAKS) + 1
        end = fits if text[fits] == " " else sign or fits
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*lines, text]


def fitted_names(names: Sequence[object], fit: Fit) -> list[str]:
    """Texts for names shown together; if one does not fit, the common prefix is dropped.

    Names that would become the same text show the part in which they differ.

    Args:
        names: may come several times.
        fit: from a text to one that fits, see `in_lines`.
    """
    requested = [plain(name) for name in names]
    every = list(dict.fromkeys(requested))
    rendered = {text: fit(text) for text in every}
    if any(is_cut(text, rendered[text]) for text in every):
        start = shared_start(every)
        rendered = {text: fit(DOTS + text[start:] if start else text) for text in every}
        _tell_apart(rendered, fit)
    return [rendered[text] for text in requested]


def is_cut(text: str, rendered: str) -> bool:
    """Whether the text is shortened."""
    return "".join(rendered.split()) != "".join(text.split())


def shared_start(texts: Sequence[str]) -> int:
    """Length of the common prefix, up to the end of a word; 0 if it is too short to drop."""
    if len(texts) < 2:
        return 0
    shared = common_start(texts)
    shared = shared[: min(len(shared), min(map(len, texts)) - 1)]
    word = max(shared.rfind(each) for each in BREAKS) + 1
    start = word if word >= WORTH else len(shared)
    return start if start >= WORTH else 0


def common_start(texts: Sequence[str]) -> str:
    """The common prefix of the texts."""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((index for index, (a, b) in pairs if a != b), min(len(first), len(last)))]


def _tell_apart(rendered: dict[str, str], fit: Fit) -> None:
    """Replace equal shortened texts by ones that show where the names differ."""
    for group in _groups(rendered):
        start = len(common_start(group))
        end = min(len(common_start([text[::-1] for text in group])), min(map(len, group)) - start)
        separate = {
            text: fit(f"{DOTS}{text[start : len(text) - end]}{DOTS if end else ''}") for text in group
        }
        if len(set(separate.values())) > 1:
            _tell_apart(separate, fit)
        rendered.update(separate)


def _groups(rendered: dict[str, str]) -> Iterable[list[str]]:
    """The names that have the same text, in groups of two or more."""
    by_text: dict[str, list[str]] = {}
    for name, text in rendered.items():
        by_text.setdefault(text, []).append(name)
    return [group for group in by_text.values() if len(group) > 1]
