"""Recipes: choices of the group `experiment`, which set many keys of `lookalike train`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lookalike.config import catalogue
from lookalike.config.overrides import Change
from lookalike.config.wording import join_words
from lookalike.errors import ConfigError

log = logging.getLogger(__name__)
RECIPES = "experiment"
JOB = "train"
"""The job that recipes are for."""
Tree = dict[str, Any]


def check_recipe(job: str, changes: Sequence[Change], folders: catalogue.Folders) -> None:
    """Refuse recipes for a job that has none, and more than one at once.

    Raises:
        ConfigError: names the command that works.
    """
    names = [change.value for change in changes if change.key == RECIPES and change.operation != "delete"]
    if not names or not catalogue.is_group(RECIPES, folders):
        return
    if job != JOB:
        raise ConfigError(
            f"{RECIPES}={names[0]}: recipes are for `lookalike {JOB}`; the other jobs read what they need "
            "from the run or model folder"
        )
    if isinstance(names[-1], list):
        raise ConfigError(f"{RECIPES}={names[-1]}: takes one recipe; `lookalike recipes` lists them")


def leave_out_unfit(
    tree: Tree,
    groups: Mapping[str, Any],
    chosen: Mapping[str, Any],
    compose: Callable[[Mapping[str, Any]], Tree],
) -> None:
    """Take the values out of a tree that a recipe sets for a choice that the user has replaced by another.

    `+experiment=nekonet_1 backbone=efficientnet_lite0` keeps what both backbones take and leaves out
    `backbone.name`, which is that of the recipe's own backbone. What is left out is logged.

    Args:
        tree: composed with the recipe and the user's choices; changed in place.
        groups: of the job, with the default choices.
        chosen: the user's choices by group, and the recipe.
        compose: composes other choices.
    """
    recipe = {group: choice for group, choice in chosen.items() if group not in groups}
    replaced = {group: choice for group, choice in chosen.items() if group in groups}
    if not recipe or not replaced:
        return
    plain, own_keys = compose(replaced), compose(recipe)
    unfit = [
        key
        for group in replaced
        for key in _unfit(tree.get(group, {}), plain.get(group, {}), own_keys.get(group, {}), group)
    ]
    if unfit:
        choices = join_words(
            f"{group}={_write_choice(choice)}"
            for group, choice in replaced.items()
            if any(key.split(".")[0] == group for key in unfit)
        )
        names = join_words(f"{RECIPES}={name}" for name in recipe.values())
        log.info("%s: ignored %s, because you chose %s", names, join_words(unfit), choices)


def _unfit(tree: Tree, plain: Tree, own_keys: Tree, key: str) -> list[str]:
    """Remove what `plain` does not have, unless the recipe chooses the same; the names of what went."""
    if not isinstance(tree, dict) or ("_target_" in plain and plain["_target_"] == own_keys.get("_target_")):
        return []
    names = [name for name in tree if name not in plain]
    for name in names:
        del tree[name]
    return [f"{key}.{name}" for name in names if not name.startswith("_")]


def _write_choice(choice: Any) -> str:
    return f"[{','.join(map(str, choice))}]" if isinstance(choice, list) else str(choice)
