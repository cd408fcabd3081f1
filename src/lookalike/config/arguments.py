"""The words of a command line: arguments for keys, and paths without a key."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lookalike.config.overrides import home
from lookalike.config.wording import closest_names
from lookalike.errors import ConfigError

NAMED = re.compile(r"\s*(?:\+{0,2}|~)([A-Za-z_][\w-]*)[\w./-]*\s*=")
SECOND = re.compile(r"\s([A-Za-z_][\w-]*)[\w./-]*=")
PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"}
TABLES = {".csv", ".tsv", ".parquet", ".feather", ".xlsx"}
CONTENTS = {
    "index.json": "index",
    "operating_point.json": "model",
    "model.safetensors": "model",
    "history.csv": "run",
    "metrics.json": "evaluation",
    "vectors.npy": "embeddings",
    "table.parquet": "dataset",
    "table.csv": "dataset",
}
"""The key that a folder with this file in it most likely belongs to."""


def sort_arguments(
    words: Sequence[str], keys: Iterable[str], takes_paths: bool, example: str
) -> tuple[list[str], list[str]]:
    """Arguments for keys, and paths written without one.

    Args:
        words: all words after the job.
        keys: keys and groups of the job.
        takes_paths: whether one of the keys takes the words that name no key.
        example: a command that is right.

    Raises:
        ConfigError: a word is neither; the message shows what to write in its place.
    """
    known, named, paths = set(keys), list[str](), list[str]()
    for position, word in enumerate(words):
        _refuse_spaces(words, position, known)
        _refuse_two_in_one(word, known)
        if takes_paths and _is_path(word, known):
            paths.append(home(word) if word.startswith("~") else word)
        elif word.startswith("-"):
            raise ConfigError(_option(words, position, known))
        elif "=" in word or (word.startswith("~") and not word.startswith("~/")):
            named.append(word)
        elif takes_paths:
            paths.append(word)
        else:
            raise ConfigError(_without_key(words, position, known, example))
    return named, paths


def _is_path(word: str, known: set[str]) -> bool:
    """Whether a word that looks like an argument or option is a path: `a=b.jpg`, `~/x`, `-1.jpg`."""
    match = NAMED.match(word)
    if match and match[1] in known:
        return False
    return (
        word.startswith("~/")
        or (_exists(word) and word.startswith(("-", "~")))
        or ("=" in word and _exists(word))
    )


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


def _refuse_spaces(words: Sequence[str], position: int, known: set[str]) -> None:
    """Join arguments with spaces around the equals sign, which arrive as several words: `epochs = 3`."""
    word, after = words[position], words[position + 1 : position + 3]
    if after[:1] == ["="]:
        written, argument = f"{word} = {' '.join(after[1:])}", f"{word}={' '.join(after[1:])}"
    elif (after and after[0].startswith("=") and word in known) or (
        word.endswith("=") and word[:-1].lstrip("+") in known and after and not _starts(after[0])
    ):
        written, argument = f"{word} {after[0]}", f"{word}{after[0]}"
    else:
        return
    raise ConfigError(
        f"{written.strip()}: write it without spaces around =: {argument.strip() if after else word}"
    )


def _refuse_two_in_one(word: str, known: set[str]) -> None:
    """Split a word that contains two arguments, such as `"dataset=a out=b"`."""
    inside = SECOND.search(word)
    if inside and inside[1] in known and NAMED.match(word) and not _exists(word.partition("=")[2]):
        raise ConfigError(f"{word}: contains two arguments in one word; remove the quotes around them")


def _starts(word: str) -> bool:
    """Whether a word starts a new argument."""
    return bool(NAMED.match(word)) or word.startswith(("-", "~", "+"))


def _option(words: Sequence[str], position: int, known: set[str]) -> str:
    """`--key value` and `--key=value`, with the argument to write in their place."""
    name, equals, value = words[position].lstrip("-").partition("=")
    key = name.replace("-", "_") if name not in known else name
    if not equals:
        after = words[position + 1 : position + 2]
        value = after[0] if after and not _starts(after[0]) else "…"
    nearest = closest_names(key, known, limit=1)
    key = nearest[0] if nearest and key not in known else key
    if not key or words[position] == "--":
        return f"{words[position]}: no such option; every argument is written key=value"
    return f"{words[position]}: no such option. Keys are written without dashes: {key}={value}"


def _without_key(words: Sequence[str], position: int, known: set[str], example: str) -> str:
    word, after = words[position], words[position + 1 : position + 2]
    if word in known:
        value = after[0] if after and not _starts(after[0]) else "…"
        return f"{word}: every argument is written key=value: {word}={value}"
    key = key_for(word, known)
    meant = f". Did you mean {key}={word}?" if key else ""
    return f"{word}: every argument is written key=value, as in `{example}`{meant}"


def key_for(word: str, known: Iterable[str]) -> str:
    """The key that a path was probably meant for, by its content; empty if unknown."""
    path, keys = Path(word), set(known)
    suffix = path.suffix.lower()
    if suffix in PHOTOS:
        guesses = ["image", "images"]
    elif suffix in TABLES:
        guesses = ["dataset"]
    elif _exists(str(path)) and path.is_dir():
        guesses = [key for file, key in CONTENTS.items() if (path / file).exists()] or [
            "source.root",
            "image",
        ]
    else:
        guesses = []
    return next((key for key in guesses if key.split(".")[0] in keys), "")
