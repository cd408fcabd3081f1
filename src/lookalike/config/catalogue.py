"""The available choices: the YAML files in `conf/`, read for the help and the checks.

`conf/<job>.yaml` holds the keys of a job and their defaults; each `conf/<group>/<choice>.yaml` is one choice.
The first comment of a file describes it; the comment after a value describes that value.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lookalike.config.wording import format_value
from lookalike.errors import ConfigError

CONF = Path(__file__).parent.parent / "conf"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML in C, ten times faster, where it was built with libyaml."""
Folders = Sequence[Path]
HEADING = re.compile(r"## ([^:]+)(?:: (.+))?")


@dataclass(frozen=True)
class Entry:
    """One value of a YAML file: its dotted key, its text, and the comment after it."""

    key: str
    text: str
    comment: str


@dataclass(frozen=True)
class Section:
    """A heading in the help of a job, with the groups and keys below it."""

    title: str
    groups: list[str]
    keys: list[str]


def jobs() -> list[str]:
    """The jobs that have a config file."""
    return sorted(file.stem for file in CONF.glob("*.yaml"))


def groups(job: str) -> dict[str, str | list[str]]:
    """The groups a job chooses from, with the default choice (a list where several are possible)."""
    defaults = _content(CONF / f"{job}.yaml").get("defaults", [])
    return {group: choice for item in defaults if isinstance(item, dict) for group, choice in item.items()}


def keys(job: str) -> dict[str, Any]:
    """The top-level keys of a job with their defaults, groups left out."""
    return {key: value for key, value in _content(CONF / f"{job}.yaml").items() if key != "defaults"}


def sections(job: str) -> list[Section]:
    """The keys and groups of a job under the headings of its file, such as `## Model: pooling, head`.

    A file without headings is one section without a title, whose groups are left out.
    """
    result = [Section("", [], [])]
    for line in (CONF / f"{job}.yaml").read_text(encoding="utf-8").splitlines():
        heading = HEADING.fullmatch(line)
        if heading:
            result.append(Section(heading[1], (heading[2] or "").replace(",", " ").split(), []))
        elif line[:1].isalpha() and not line.startswith("defaults:"):
            result[-1].keys.append(line.partition(":")[0])
    return [section for section in result if section.keys]


def is_group(name: str, folders: Folders = ()) -> bool:
    """Whether `conf/` or one of the user's own folders has choices of this name."""
    return any((folder / name).is_dir() for folder in (CONF, *folders))


def choices(group: str, folders: Folders = ()) -> dict[str, Path]:
    """The choices of a group with their files, ours before those of the user's own folders."""
    files: dict[str, Path] = {}
    for folder in (CONF, *folders):
        for file in sorted((folder / group).glob("*.yaml")):
            files.setdefault(file.stem, file)
    return files


def choice_of_target(group: str, node: Mapping[str, Any]) -> str | None:
    """The name of the choice that has this `_target_`; None for one of the user's own."""
    same = [
        name for name, file in choices(group).items() if _content(file).get("_target_") == node["_target_"]
    ]
    return same[0] if len(same) == 1 else None


def summary(file: Path) -> str:
    """The first comment of a file, a one-line description."""
    for line in file.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#") and text and not text.startswith("@package"):
            return text
        if line.strip() and not line.startswith("#"):
            break
    return ""


def notes(file: Path) -> list[str]:
    """The remaining lines of the comment at the start of a file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    texts = [line.removeprefix("#").strip() for line in comment]
    return [text for text in texts if text and not text.startswith("@package")][1:]


def entries(file: Path) -> list[Entry]:
    """Every value of a file that a user may set, in the order of the file."""
    text = file.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(_unreadable_yaml(file, error)) from error
    return [entry for entry in _walk(root, "", text) if not entry.key.startswith("defaults")]


def settings(file: Path) -> list[str]:
    """What a recipe sets, one `key=value` a line as one would type it; each stage has a line of its own."""
    items = [item for item in _content(file).get("defaults", []) if isinstance(item, dict)]
    lines = [f"{key.removeprefix('override /')}={format_value(item[key])}" for item in items for key in item]
    for entry in entries(file):
        if entry.text.startswith("- "):
            stages = [format_value(stage, 200).replace(",", ", ") for stage in _content(file)[entry.key]]
            lines += [f"{entry.key}: {number}. {stage}" for number, stage in enumerate(stages, 1)]
        else:
            lines.append(f"{entry.key}={entry.text.replace(', ', ',')}")
    return lines


def inherited_recipes(file: Path) -> list[str]:
    """The recipes that a recipe starts from."""
    return [item for item in _content(file).get("defaults", []) if isinstance(item, str) and item != "_self_"]


def _walk(root: yaml.Node | None, prefix: str, text: str) -> Iterator[Entry]:
    """The leaves below a mapping; names that only Hydra reads (`_target_`) are left out."""
    for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
        key = f"{prefix}{name.value}"
        if name.value.startswith("_"):
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(value, f"{key}.", text)
        else:
            written = text[value.start_mark.index : value.end_mark.index]
            flow = isinstance(value, yaml.ScalarNode) or value.flow_style
            comment = _comment(text, (value if flow else name).end_mark.index)
            yield Entry(key, " ".join(written.split()), comment)


def _comment(text: str, start: int) -> str:
    """The comment at the end of a line."""
    return text[start:].split("\n", 1)[0].partition("#")[2].strip()


def _content(file: Path) -> dict[str, Any]:
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER) or {}
    except yaml.YAMLError as error:
        raise ConfigError(_unreadable_yaml(file, error)) from error


def _unreadable_yaml(file: Path, error: yaml.YAMLError) -> str:
    return f"{file}: not valid YAML: {' '.join(str(error).split())}"
