"""Compose the checked values of a job from its name and `key=value` arguments."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lookalike.config import catalogue
from lookalike.config.guesses import advice, choice_advice, switch_advice
from lookalike.config.overrides import Change, from_values, read
from lookalike.config.recipes import RECIPES, check_recipe, leave_out_unfit
from lookalike.config.wording import did_you_mean, format_value, join_words
from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

log = logging.getLogger(__name__)
Values = TypeVar("Values", bound="BaseModel")
MISSING = "???"
INSTEAD = {"prepare": {"patch": "source"}}
"""Keys of a job that replace a group: once given, the group has no choice."""
Tree = dict[str, Any]


def load(job: str, config: type[Values], arguments: Sequence[str] = (), /, **values: Any) -> Values:
    """The job's `Config`, composed from `conf/` and the changes, with every value checked.

    Args:
        job: there is a `conf/<job>.yaml`.
        config: the pydantic model of the job's keys.
        arguments: changes as typed on the command line.
        values: further changes, as Python values; a dotted key goes in as `**{"loss.triplet.margin": 0.2}`.

    Raises:
        ConfigError: a key, choice or value is wrong; the message names it and what is allowed.
    """
    from lookalike.config.checking import validate_config

    changes = [*map(read, arguments), *from_values(values)]
    _note_repeated(changes)
    tree = _compose_config(job, changes)
    texts = {change.key: change.text for change in changes if change.text is not None}
    return validate_config(config, tree, texts, job)


def _note_repeated(changes: Sequence[Change]) -> None:
    """Log the keys that are given more than once; the last value is used."""
    last = {change.key: change for change in changes}
    for key, count in Counter(change.key for change in changes).items():
        if count > 1 and last[key].operation != "delete":
            log.info(
                "%s is given %d times; using the last value: %s=%s",
                key,
                count,
                key,
                format_value(last[key].value),
            )


def compose(job: str, arguments: Sequence[str] = (), /, **values: Any) -> Tree:
    """The job's values as plain Python; keys and choices are checked, types are not."""
    return _compose_config(job, [*map(read, arguments), *from_values(values)])


def apply_changes(job: str, values: Values, changes: Mapping[str, Any], source: str) -> Values:
    """Checked values with further changes applied.

    Args:
        job: there is a `conf/<job>.yaml`.
        values: what `load` gave.
        changes: keys and choices; `{"loss.triplet.margin": 0.2}` and `{"loss": {"triplet": {"margin": 0.2}}}`
            are the same. A choice starts from its own file again.
        source: for messages.

    Raises:
        ConfigError: a key, choice or value is wrong.
    """
    from lookalike.config.checking import validate_config

    tree, groups = values.model_dump(mode="json"), catalogue.groups(job)
    try:
        for change in from_values(_flatten_changes(changes, _open_keys(job))):
            if _chooses(change, groups, ()):
                _check_number(change, groups)
                check_choice(change.key, change.value)
                tree[change.key] = _compose_with_hydra(job, groups, {change.key: change.value}, [])[
                    change.key
                ]
            else:
                _apply(tree, change, set(), job)
        return validate_config(type(values), _resolve_interpolations(tree), {}, job)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _flatten_changes(changes: Mapping[str, Any], whole: set[str], prefix: str = "") -> Tree:
    """Nested keys as dotted ones, down to what is built, is set as a whole or is no mapping."""
    flat: Tree = {}
    for name, value in changes.items():
        key = f"{prefix}{name}"
        nested = isinstance(value, Mapping) and value and "_target_" not in value and key not in whole
        flat |= _flatten_changes(value, whole, f"{key}.") if nested else {key: value}
    return flat


def _open_keys(job: str) -> set[str]:
    """The keys that are mappings of names of the user's own: those whose default is `{}`."""
    return {key for key, value in catalogue.keys(job).items() if value == {}}


def own_folders(changes: Sequence[Change]) -> list[Path]:
    """The folder of the user's own choices, where `conf_dir=` names one."""
    folders = [Path(str(change.value)).expanduser() for change in changes if change.key == "conf_dir"]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"conf_dir={folder}: no such folder")
    return [folder.absolute() for folder in folders[-1:]]


def check_choice(group: str, choice: Any, folders: catalogue.Folders = ()) -> None:
    """Refuse a choice, or list of choices, that the group does not have.

    Raises:
        ConfigError: names the nearest choices and all there are.
    """
    known = catalogue.choices(group, folders)
    for name in choice if isinstance(choice, list) else [choice]:
        if not isinstance(name, str) or name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(
                f"{group}={format_value(name)}: no such {group}.{hint} Choices: {', '.join(sorted(known))}"
                f"{_switch_sentence(group, name) or choice_advice(group, name)}"
            )


def _compose_config(job: str, changes: Sequence[Change]) -> Tree:
    folders = own_folders(changes)
    groups = catalogue.groups(job)
    check_recipe(job, changes, folders)
    choices, rest = dict[str, Any](), list[Change]()
    for change in changes:
        if change.operation != "delete" and _chooses(change, groups, folders):
            _check_number(change, groups)
            check_choice(change.key, change.value, folders)
            choices[change.key] = change.value
        elif change.key != "conf_dir":
            rest.append(change)
    composed = _compose_with_hydra(job, groups, choices, folders)
    leave_out_unfit(composed, groups, choices, lambda some: _compose_with_hydra(job, groups, some, folders))
    tree = {group: {} for group in groups} | composed
    added: set[str] = set()
    for change in rest:
        _apply(tree, change, added, job)
    _leave_out(job, tree, changes)
    _refuse_missing(job, tree)
    return _resolve_interpolations(tree)


def _leave_out(job: str, tree: Tree, changes: Sequence[Change]) -> None:
    """Empty the groups that a key stands in for.

    Raises:
        ConfigError: something was chosen from such a group all the same.
    """
    for key, group in INSTEAD.get(job, {}).items():
        if tree[key] is None:
            continue
        choosing_key = next((change.key for change in changes if change.key.split(".")[0] == group), None)
        if choosing_key:
            raise ConfigError(f"{choosing_key} and {key} cannot be combined: {key}= replaces {group}=")
        tree[group] = {}


def _chooses(change: Change, groups: Mapping[str, Any], folders: catalogue.Folders) -> bool:
    """Whether this is GROUP=CHOICE; `+experiment=…` adds a group that the job does not list, plus or not.

    `GROUP={_target_: …}` is no choice: it takes the place of one.
    """
    if (
        isinstance(change.value, dict)
        and "_target_" in change.value
        and isinstance(groups.get(change.key), str)
    ):
        return False
    extra = (change.operation == "add" or change.key == RECIPES) and not isinstance(change.value, dict)
    return change.key in groups or (extra and catalogue.is_group(change.key, folders))


def _check_number(change: Change, groups: Mapping[str, Any]) -> None:
    if isinstance(change.value, list) and isinstance(groups.get(change.key), str):
        raise ConfigError(f"{change.key}={format_value(change.value)}: takes one choice, not a list")


def _compose_with_hydra(
    job: str, groups: Mapping[str, Any], choices: Mapping[str, Any], folders: list[Path]
) -> Tree:
    import yaml
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = [
        f"{'' if group in groups else '+'}{group}={format_value(choice, 10**6)}"
        for group, choice in choices.items()
    ]
    if folders:
        overrides.append("hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in folders) + "]")
    try:
        with initialize_config_dir(str(catalogue.CONF), version_base=None):
            composed = compose(job, overrides)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(
            f"{job}: these choices cannot be combined: {' '.join(str(error).split())}"
        ) from error
    return cast(Tree, OmegaConf.to_container(composed, resolve=False))


def _apply(tree: Tree, change: Change, added: set[str], job: str) -> None:
    """Apply one change in place."""
    first, _, inside = change.key.partition(".")
    if first in _open_keys(job) and change.operation != "delete":
        current = tree[first] if isinstance(tree[first], dict) else {}
        tree[first] = {**current, inside: change.value} if inside else change.value
        return
    *parents, last = change.key.split(".")
    node: Any = tree
    for depth, name in enumerate(parents):
        if isinstance(node, dict) and name not in node and change.operation == "add":
            added.add(".".join(parents[: depth + 1]))
            node[name] = {}
        if not isinstance(node, dict) or name not in node:
            raise ConfigError(_explain_unknown_key(change, tree, job))
        node = node[name]
    free = change.operation == "add" or ".".join(parents) in added
    if not isinstance(node, dict) or (last not in node and not free):
        raise ConfigError(_explain_unknown_key(change, tree, job))
    if change.operation == "delete":
        del node[last]
    elif isinstance(node.get(last), dict) and node[last] and not _replaces(change, node[last]):
        _apply_inside(tree, change, added, job, node[last])
    elif _builds(change.value) and _builds(node.get(last)) and "_partial_" in node[last]:
        node[last] = {"_partial_": node[last]["_partial_"], **change.value}
    else:
        node[last] = change.value


def _switch_sentence(key: str, value: Any) -> str:
    known = switch_advice(key, value)
    return f". {known}" if known else ""


def _builds(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _replaces(change: Change, node: Tree) -> bool:
    """Whether a change removes an object or replaces it by another one."""
    return _builds(node) and (_builds(change.value) or change.value is None)


def _apply_inside(tree: Tree, change: Change, added: set[str], job: str, node: Tree) -> None:
    """`loss.triplet={margin: 0.1}` is one change for each key in the braces."""
    if not isinstance(change.value, dict):
        raise ConfigError(
            f"{change.key}={format_value(change.value)}: set one of its keys: "
            f"{_format_node(node, change.key)}{_switch_sentence(change.key, change.value)}"
        )
    for name, value in change.value.items():
        _apply(tree, Change(f"{change.key}.{name}", value, change.operation), added, job)


def _explain_unknown_key(change: Change, tree: Tree, job: str) -> str:
    """The error message for an unknown key, with suggestions."""
    key, node, known = change.key, tree, ""
    meant = advice(job, key, change.value, [*_own_keys(job), *tree])
    if meant:
        return f"{key}: {job} has no such key.{meant}"
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            break
        node, known = node[name], f"{known}.{name}".removeprefix(".")
    wrong = key[len(known) :].removeprefix(".").split(".")[0]
    if not isinstance(node, dict):
        return f"{key}: {known} has no keys of its own; set it as {known}=…"
    if wrong in catalogue.choices(known) and known in catalogue.groups(job):
        return f"{key}: {known}={wrong} is not selected (selected: {join_words(node)}). Add {known}={wrong}"
    leaves = [leaf for leaf, _ in _leaf_keys(tree) if leaf.rpartition(".")[2] == wrong]
    suggestion = did_you_mean(key, leaves) or did_you_mean(wrong, node)
    if leaves and not did_you_mean(wrong, node):
        return f"{key}: {job} has no such key. Did you mean {join_words(leaves[:3], 'or')}?"
    if known:
        return f"{key}: no such key.{suggestion} {known} has: {_format_node(node)}"
    elsewhere = [other for other in catalogue.jobs() if key.split(".")[0] in _own_keys(other)]
    elsewhere_hint = f" It is a key of {join_words(elsewhere)}." if elsewhere else ""
    return f"{key}: {job} has no such key.{suggestion}{elsewhere_hint} `lookalike {job} --help` lists all"


def _own_keys(job: str) -> set[str]:
    return {*catalogue.keys(job), *catalogue.groups(job)}


def _format_node(node: Tree, prefix: str = "") -> str:
    names = [name for name in node if not name.startswith("_")]
    return ", ".join(f"{prefix}.{name}".removeprefix(".") for name in names)


def _leaf_keys(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaf_keys(value, f"{prefix}{name}.")
        elif not name.startswith("_"):
            yield f"{prefix}{name}", value


def _refuse_missing(job: str, tree: Tree) -> None:
    missing = [leaf for leaf, value in _leaf_keys(tree) if value == MISSING]
    if missing:
        named = join_words(f"{key}=…" for key in missing)
        raise ConfigError(
            f"{job} needs {named}\n`lookalike {job} --help` describes them and shows an example"
        )


def _resolve_interpolations(tree: Tree) -> Tree:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return cast(Tree, OmegaConf.to_container(OmegaConf.create(tree), resolve=True))
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None) or "a value"
        raise ConfigError(
            f"{full_key}: the reference cannot be resolved: {str(error).splitlines()[0]}"
        ) from error
