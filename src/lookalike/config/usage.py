"""The text of `--help`, formatted for the width of the terminal."""

import shutil
import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lookalike.config import catalogue
from lookalike.config.composing import MISSING, check_choice, own_folders
from lookalike.config.overrides import read
from lookalike.config.recipes import JOB, RECIPES
from lookalike.config.wording import format_value

Row = tuple[str, str]


def main_usage(jobs: Iterable[Row], example: str) -> str:
    """What `lookalike --help` prints: every job with one line, in the order in which data flows."""
    return "\n".join(
        [
            "Train image embeddings, measure their accuracy, and search images with them.",
            "",
            "Usage: lookalike JOB key=value …",
            "",
            *_table(jobs),
            "",
            *_wrap_text("lookalike JOB --help lists the keys and choices of a job. For example:"),
            f"  {example}",
            "",
            *_table(
                [
                    ("-h, --help", "show this help, or the help of a job or choice"),
                    ("-v, --verbose", "print debug messages, and the traceback of an error"),
                    ("--version", "show the version"),
                ]
            ),
        ]
    )


def job_usage(job: str, summary: str, example: str, config: Any, arguments: Sequence[str] = ()) -> str:
    """What `lookalike JOB --help` prints; with `GROUP=CHOICE` among the arguments, that choice's values."""
    changes = [read(argument) for argument in arguments]
    folders, groups = own_folders(changes), catalogue.groups(job)
    choices = {change.key: change.value for change in changes if change.key in groups}
    named = [change.value for change in changes if change.key == RECIPES] if job == JOB else []
    fields = config.model_fields
    if named:
        return of_recipe(named[-1], folders)
    if choices:
        return "\n\n".join(_group_page(job, group, choice, folders) for group, choice in choices.items())
    lines = [
        *_wrap_text(summary if summary.endswith("…") else f"{summary}."),
        "",
        f"Usage: lookalike {job} key=value …",
        "For example:",
        f"  {example}",
        "",
        "Keys, with their defaults:",
    ]
    for section in catalogue.sections(job):
        lines += ["", f"{section.title}:"] if section.title else []
        lines += _table(_section_rows(section, catalogue.keys(job), groups, fields))
    if groups:
        lines += ["", "Choices, written GROUP=CHOICE; * marks the default:"]
    for group, default in groups.items():
        lines += ["", *_choices(group, default, _sentence(fields[group].description), folders)]
    if groups:
        lines += ["", *_wrap_text(_pointer(job, groups))]
    if job == JOB:
        lines += ["", recipes(folders)]
    return "\n".join(lines)


def _section_rows(
    section: catalogue.Section,
    defaults: Mapping[str, Any],
    groups: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> list[Row]:
    """Required keys first, then groups, then the other keys."""
    rows = [
        row for key in section.keys if key in fields for row in _key_rows(key, fields[key], defaults[key])
    ]
    needed = [row for row in rows if row[1].startswith("Required.")]
    chosen = [
        (f"{group}={_default(groups[group])}", f"{_sentence(fields[group].description)} Choices below.")
        for group in section.groups
    ]
    return [*needed, *chosen, *(row for row in rows if row not in needed)]


def _key_rows(key: str, field: Any, value: Any) -> list[Row]:
    """A row of the help; one for each inner key of a key such as `rerank`."""
    inner = getattr(field.annotation, "model_fields", None)
    if not inner or not isinstance(value, dict):
        return [(f"{key}={_default(value)}", _description(field, value))]
    return [row for name in inner for row in _key_rows(f"{key}.{name}", inner[name], value.get(name))]


def recipes(folders: catalogue.Folders = ()) -> str:
    """All recipes, each with what it reproduces, and how to use one."""
    files = sorted(catalogue.choices(RECIPES, folders).items())
    rows = [(f"{RECIPES}={name}", _sentence(catalogue.summary(file))) for name, file in files]
    use = (
        f"A recipe sets many keys at once; keys that you give as well take precedence: `lookalike {JOB} "
        f"dataset=data/mine out=runs/mine {RECIPES}=nekonet_1 image_size=96 backbone=efficientnet_lite0`. "
        "`lookalike recipes NAME` lists the keys that a recipe sets."
    )
    return "\n".join(["Recipes:", *_table(rows, widest=28), "", *_wrap_text(use)])


def of_recipe(name: Any, folders: catalogue.Folders = ()) -> str:
    """What a recipe is for, its command, and the values that it sets, those it inherits included.

    Raises:
        ConfigError: there is no such recipe.
    """
    check_choice(RECIPES, name, folders)
    files = catalogue.choices(RECIPES, folders)
    notes = [line for note in catalogue.notes(files[name]) for line in _wrap_text(note)]
    lines = [*_wrap_text(f"{RECIPES}={name}: {_sentence(catalogue.summary(files[name]))}"), "", *notes]
    parent: str | None = name
    while parent:
        lines += ["", f"Keys set{f' by {parent}' if parent != name else ''}:"]
        lines += [f"  {line}" for line in catalogue.settings(files[parent])]
        parent = next(iter(catalogue.inherited_recipes(files[parent])), None)
    return "\n".join(lines)


def _pointer(job: str, groups: Mapping[str, Any]) -> str:
    group = "loss" if "loss" in groups else list(groups)[-1]
    default = groups[group]
    name = default[0] if isinstance(default, list) else default
    return f"`lookalike {job} {group}={name} --help` lists the values of a choice."


def _choices(group: str, default: str | list[str], description: str, folders: catalogue.Folders) -> list[str]:
    defaults = default if isinstance(default, list) else [default]
    rows = [
        (f"{'*' if name in defaults else ' '} {name}", _sentence(catalogue.summary(file)))
        for name, file in sorted(catalogue.choices(group, folders).items())
    ]
    return [*_wrap_text(f"{group}: {description}"), *_table(rows)]


def _group_page(job: str, group: str, choice: Any, folders: list[Path]) -> str:
    check_choice(group, choice, folders)
    files = catalogue.choices(group, folders)
    names = choice if isinstance(choice, list) else [choice]
    return "\n\n".join(_choice_page(job, group, name, files[name]) for name in names)


def _choice_page(job: str, group: str, name: str, file: Path) -> str:
    entries = catalogue.entries(file)
    notes = [line for note in catalogue.notes(file) for line in _wrap_text(_sentence(note))]
    lines = [*_wrap_text(f"{group}={name}: {_sentence(catalogue.summary(file))}"), *notes, ""]
    if not entries:
        return "\n".join([*lines, "It has no values to set."])
    rows = [(f"{group}.{entry.key}={_default(entry.text)}", _explanation(entry)) for entry in entries]
    shown_first = next((row for row in rows if row[0].endswith("…")), rows[0])[0]
    example = f"  lookalike {job} {group}={name} {shown_first}"
    return "\n".join(
        [*lines, "Values, with their defaults:", *_table(rows, widest=36), "", "For example:", example]
    )


def _explanation(entry: catalogue.Entry) -> str:
    return f"{'Required. ' if entry.text == MISSING else ''}{_sentence(entry.comment)}"


def _default(value: Any) -> str:
    """A value as it would be typed."""
    return "…" if value == MISSING else format_value(value).replace(", ", ",")


def _description(field: Any, value: Any) -> str:
    """The description as a sentence, with what is allowed where that is a list of names."""
    allowed = list(_literals(field.annotation))
    one_of = f" One of {', '.join(map(str, allowed))}." if allowed else ""
    return f"{'Required. ' if value == MISSING else ''}{_sentence(field.description)}{one_of}"


def _sentence(text: str | None) -> str:
    text = (text or "").strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _literals(hint: Any) -> Iterable[Any]:
    if typing.get_origin(hint) is Literal:
        yield from typing.get_args(hint)
    else:
        for inner in typing.get_args(hint):
            yield from _literals(inner)


def _width() -> int:
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, 100))


def _wrap_text(text: str, indent: str = "", hanging: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(rows: Iterable[Row], widest: int = 26) -> list[str]:
    """Two columns; a left entry that is too long gets its own line."""
    rows = list(rows)
    column = min(max((len(left) for left, _ in rows), default=0), widest) + 4
    lines: list[str] = []
    for left, right in rows:
        start = f"  {left}".ljust(column)
        if len(start.rstrip()) > column - 2 or not right:
            lines.append(start.rstrip())
            start = " " * column
        lines += _wrap_text(right, start, " " * column)
    return lines
