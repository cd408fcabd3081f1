"""Check values against their types: keys of a job against its `Config`, others against their targets."""

import json
import math
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from lookalike.config.guesses import switch_advice, value_meant
from lookalike.config.signatures import hints as hints_of
from lookalike.config.signatures import wants_path
from lookalike.config.wording import closest_names, did_you_mean, format_value, join_words
from lookalike.errors import ConfigError

Values = TypeVar("Values", bound=BaseModel)
Tree = dict[str, Any]
Texts = Mapping[str, str]
NONE = ("None", "NONE")
SWITCH = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(%|[a-z]{1,6})", re.IGNORECASE)
FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
WORDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list, like [a,b]",
    "tuple_type": "a list, like [a,b]",
    "set_type": "a list, like [a,b]",
    "dict_type": "keys with values",
    "none_required": "null",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
    "string_too_short": "not empty",
    "callable_type": "null or something with a _target_",
}


NUMERIC = {"int_type", "int_parsing", "float_type", "float_parsing"}


def validate_config(config: type[Values], tree: Tree, texts: Texts, job: str) -> Values:
    """The job's `Config` from composed values.

    Args:
        config: the model of the job's keys.
        tree: composed values.
        texts: values as typed, by dotted key: `out=2024` is a folder where a path is wanted.
        job: for messages.

    Raises:
        ConfigError: lists every wrong value, one a line.
    """
    unknown = [key for key in tree if key not in config.model_fields]
    if unknown:
        hint = did_you_mean(unknown[0], config.model_fields)
        raise ConfigError(f"{unknown[0]}: {job} has no such key.{hint} `lookalike {job} --help` lists all")
    tree = {key: _top(config.model_fields[key].annotation, key, value, texts) for key, value in tree.items()}
    _validate(config, tree)
    problems: list[str] = []
    tree = _validate_tree(tree, "", texts, problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return _validate(config, tree)


def _top(hint: Any, key: str, value: Any, texts: Texts) -> Any:
    """The value of a key, or of the keys inside it, converted to its type where that is unambiguous."""
    if isinstance(value, dict):
        if not (isinstance(hint, type) and issubclass(hint, BaseModel)):
            return value
        fields = hint.model_fields
        return {
            name: _top(fields[name].annotation, f"{key}.{name}", inner, texts) if name in fields else inner
            for name, inner in value.items()
        }
    try:
        return _fit_type(hint, value, texts.get(key))
    except ValidationError:
        return value


def _validate(config: type[Values], tree: Tree) -> Values:
    """Validate strictly, as JSON: text may become a path and a list a tuple, but never text a number."""
    try:
        return config.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_plain(error, lambda key: tree.get(key)))) from error


def _validate_tree(node: Any, key: str, texts: Texts, problems: list[str]) -> Any:
    """The tree after checking every node that has a `_target_`, innermost first."""
    if isinstance(node, list):
        return [_validate_tree(item, f"{key}.{index}", texts, problems) for index, item in enumerate(node)]
    if not isinstance(node, dict):
        if isinstance(node, float) and not math.isfinite(node):
            problems.append(f"{key}={node}: must be a finite number")
        return node
    inside = {
        name: _validate_tree(value, f"{key}.{name}".removeprefix("."), texts, problems)
        for name, value in node.items()
    }
    return _validate_node(inside, key, texts, problems) if "_target_" in node else inside


def _validate_node(node: Tree, key: str, texts: Texts, problems: list[str]) -> Tree:
    """The arguments of one target, each converted to its type hint."""
    target = _import_target(node["_target_"], key)
    hints = hints_of(target)
    if hints is None:
        return node
    if key.startswith("loss.") and key.count(".") == 1:
        hints.setdefault("weight", Annotated[float, Ge(0)])
    for name, value in node.items():
        full_key = f"{key}.{name}"
        if name in HYDRA or _is_node(value):
            continue
        if name not in hints:
            hint = did_you_mean(name, hints)
            leave = "" if full_key in texts else f"; ~{full_key} removes it"
            problems.append(f"{full_key}: no such argument.{hint} {key} takes {join_words(hints)}{leave}")
            continue
        try:
            node[name] = _fit_type(hints[name], value, texts.get(full_key))
        except ValidationError as error:
            problems.extend(_plain(error, lambda _, value=value: value, full_key))
    return node


def _is_node(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and "_target_" in item for item in items)


def _import_target(path: Any, key: str) -> Any:
    from hydra.utils import get_object

    try:
        return get_object(path)
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ConfigError(f"{key}._target_={path}: cannot be imported: {reason}") from error


def _fit_type(hint: Any, value: Any, text: str | None) -> Any:
    """The value, or the text it was typed as where only that fits.

    Raises:
        ValidationError: neither fits.
    """
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, PydanticUndefinedAnnotation):
        return value
    for candidate in _readings(value, text):
        if _takes(adapter, candidate) and not (isinstance(value, bool) and _is_stray_switch(candidate, hint)):
            return candidate
    adapter.validate_json(json.dumps(value), strict=True)
    return value


def _readings(value: Any, text: str | None) -> Iterator[Any]:
    """What a value may mean, most likely first: itself, true, false or none, its text, a list of it."""
    if text in NONE:
        yield None
    yield value
    if isinstance(value, list | dict):
        return
    if text is not None and text.lower() in SWITCH:
        yield SWITCH[text.lower()]
    if text is not None and not isinstance(value, str):
        yield text
    if value is not None:
        yield [value]


def _is_stray_switch(candidate: Any, hint: Any) -> bool:
    """Whether `true` or `false` would become the path of a file that is not there."""
    return isinstance(candidate, str) and wants_path(hint) and not Path(candidate).exists()


def _takes(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def _plain(error: ValidationError, value_of: typing.Callable[[str], Any], key: str = "") -> Iterator[str]:
    """One line per wrong value, with the alternatives of a union joined."""
    by_key: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        top = key or str(next(iter(detail["loc"]), ""))
        by_key.setdefault(top, []).append(detail)
    for top, details in by_key.items():
        yield _error_line(top, value_of(top), details)


def _error_line(key: str, value: Any, details: list[Any]) -> str:
    lines = [
        str(detail["ctx"]["error"])
        for detail in details
        if detail["type"] in ("value_error", "assertion_error")
    ]
    if lines:
        return f"{key}={format_value(value)}: {lines[0]}" if key else lines[0]
    if details[0]["type"] == "missing":
        few = f"{key}={format_value(value)}: has too few values"
        return few if isinstance(value, list) else f"{key}: is required"
    expected = join_words(dict.fromkeys(map(_expected_type, details)), "or")
    each = (
        "each "
        if isinstance(value, list) and all(isinstance(["", *detail["loc"]][-1], int) for detail in details)
        else ""
    )
    return f"{key}={format_value(value)}: {each}must be {expected}{_hint(key, value, details)}"


def _expected_type(detail: Any) -> str:
    if detail["type"] == "literal_error":
        return f"one of {', '.join(_allowed_values(detail))}"
    words = WORDS.get(detail["type"])
    if words is None:
        return f"valid ({detail['msg']})"
    bounds = detail.get("ctx", {}).items()
    return words.format(
        **{name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in bounds}
    )


def _allowed_values(detail: Any) -> list[str]:
    """`'a', 'b' or 'c'` as a list."""
    expected = detail["ctx"]["expected"].replace(" or ", ", ")
    return [word.strip("'") for word in expected.split(", ")]


def _hint(key: str, value: Any, details: Iterable[Any]) -> str:
    allowed = [
        word for detail in details if detail["type"] == "literal_error" for word in _allowed_values(detail)
    ]
    nearest_values = value_meant(value, allowed) or closest_names(str(value), allowed, limit=1)
    if isinstance(value, bool):
        return _switch_hint(key, value, details)
    if not nearest_values and isinstance(value, str) and {detail["type"] for detail in details} & NUMERIC:
        nearest_values = _number_in(value)
    return f". Did you mean {join_words(nearest_values, 'or')}?" if nearest_values else ""


def _switch_hint(key: str, value: bool, details: Iterable[Any]) -> str:
    """What to write in place of true or false."""
    known = switch_advice(key, value)
    if known:
        return f". {known}"
    is_path = {"path_type", "string_type"} & {detail["type"] for detail in details}
    return f"; a file or folder of that name is written ./{format_value(value)}" if is_path else ""


def _number_in(text: str) -> list[str]:
    """The number that is written as `224px`, `0.1%` or `1/1000`."""
    quantity, fraction = QUANTITY.fullmatch(text.strip()), FRACTION.fullmatch(text.strip())
    if quantity:
        return [f"{float(quantity[1]) / 100:g}" if quantity[2] == "%" else quantity[1]]
    if fraction and float(fraction[2]):
        return [f"{float(fraction[1]) / float(fraction[2]):g}"]
    return []
