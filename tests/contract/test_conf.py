"""What every file in conf/ promises. A new file, group or job is picked up by itself."""

import inspect
import typing

import pytest
import yaml
from hydra.utils import get_object

from lookalike import config
from lookalike.cli import JOBS, about_job, module
from lookalike.config import catalogue
from lookalike.report.plot_inputs import OFFERS

SUPPLIED = {
    "loss": {"num_classes", "class_counts", "dim", "sim", "positive", "negative"},
    "head": {"features", "dim"},
    "pooling": {"features"},
    "augment": {"size", "how", "interpolation"},
    "sampler": {"labels", "seed", "undersample", "oversample"},
    "optimizer": {"params", "lr"},
    "scheduler": {"progress", "epochs"},
    "metric": {"ranking", "neighbours", "pairs", "unit", "codes", "k", "far", "coarse"},
    "source": {"raw"},
    "split": {"table"},
    "plot": set(OFFERS),
}
ADDED = "experiment"
CHOICES = [
    (group.name, file.stem)
    for group in sorted(catalogue.CONF.iterdir())
    if group.is_dir()
    for file in sorted(group.glob("*.yaml"))
]
OURS = [(group, choice) for group, choice in CHOICES if group != ADDED]


def file(group, choice):
    return catalogue.CONF / group / f"{choice}.yaml"


def nodes(group, choice):
    """Every `_target_` of a file with its values."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            found.extend([node] if "_target_" in node else [])
            for value in node.values():
                walk(value)

    walk(yaml.safe_load(file(group, choice).read_text(encoding="utf-8")))
    return found


def unset(group, choice):
    """The mandatory keys of a choice."""
    return [f"{group}.{entry.key}" for entry in catalogue.entries(file(group, choice)) if entry.text == "???"]


def mandatory_arguments(job, group, choice):
    """Arguments that give every mandatory key some value."""
    keys = [key for key, value in catalogue.keys(job).items() if value == "???"]
    for other, default in {**catalogue.groups(job), group: choice}.items():
        for name in default if isinstance(default, list) else [default]:
            keys += unset(other, name)
    return [f"{key}=x" for key in keys]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_its_file_its_keys_and_its_main(job):
    loaded = module(job)
    assert callable(loaded.main)
    assert inspect.signature(loaded.main).parameters
    listed = {*catalogue.keys(job), *catalogue.groups(job)}
    assert listed == set(loaded.Config.model_fields)
    assert [key for key, field in loaded.Config.model_fields.items() if not field.description] == []
    assert catalogue.summary(catalogue.CONF / f"{job}.yaml")


def test_every_file_is_a_job():
    assert set(catalogue.jobs()) == set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_the_example_of_a_job_is_right(job):
    name, *arguments = about_job(JOBS[job].example.split()[1:])
    assert name == job
    assert len(JOBS[job].example) <= 78
    named = [argument for argument in arguments if "=" in argument]
    words = [argument for argument in arguments if "=" not in argument]
    config.load(job, module(job).Config, named, **({JOBS[job].words: words} if words else {}))


@pytest.mark.parametrize(("group", "choice"), OURS)
def test_a_choice_composes_and_its_values_have_the_right_types(group, choice):
    users = [job for job in catalogue.jobs() if group in catalogue.groups(job)]
    assert users, f"no job chooses from {group}"
    for job in users:
        config.load(job, module(job).Config, [f"{group}={choice}", *mandatory_arguments(job, group, choice)])


@pytest.mark.parametrize("choice", [choice for group, choice in CHOICES if group == ADDED])
def test_a_recipe_composes(choice):
    values = config.load("train", module("train").Config, [f"+{ADDED}={choice}", "dataset=x", "out=x"])
    assert values.dataset == "x" and values.loss


@pytest.mark.parametrize(("group", "choice"), OURS)
def test_a_choice_explains_itself(group, choice):
    assert catalogue.summary(file(group, choice))
    silent = [entry.key for entry in catalogue.entries(file(group, choice)) if not entry.comment]
    assert silent == []


@pytest.mark.parametrize(("group", "choice"), OURS)
def test_a_choice_lists_every_argument_with_its_python_default(group, choice):
    targets = nodes(group, choice)
    assert targets
    for node in targets:
        target = get_object(node["_target_"])
        parameters = inspect.signature(target).parameters
        given = {key: value for key, value in node.items() if not key.startswith("_")}
        if group == "loss":
            assert given.pop("weight", 1.0) > 0
        assert set(given) <= set(parameters)
        if not node["_target_"].startswith("lookalike."):
            continue
        assert set(parameters) - SUPPLIED.get(group, set()) <= set(given), "each argument is listed"
        for name, value in given.items():
            default = parameters[name].default
            built = isinstance(value, dict) and "_target_" in value
            if (
                not built
                and default is not inspect.Parameter.empty
                and "${" not in str(value)
                and value != "???"
            ):
                assert value == (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize(("group", "choice"), OURS)
def test_the_arguments_of_a_choice_have_types_that_can_be_checked(group, choice):
    for node in nodes(group, choice):
        if node["_target_"].startswith("lookalike."):
            target = get_object(node["_target_"])
            hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
            assert {key for key in node if not key.startswith("_")} - {"weight"} <= set(hints)


@pytest.mark.parametrize("job", catalogue.jobs())
def test_the_sections_of_the_help_hold_every_key_and_group_once(job):
    sections = catalogue.sections(job)
    assert sorted(key for section in sections for key in section.keys) == sorted(catalogue.keys(job))
    groups = [group for section in sections for group in section.groups]
    assert sorted(groups) == sorted(catalogue.groups(job) if groups else [])


@pytest.mark.parametrize("job", ["train", "prepare", "evaluate", "plot"])
def test_the_help_of_large_jobs_is_grouped_with_the_needed_keys_first(job):
    first, *others = catalogue.sections(job)
    assert first.title == "Most used"
    assert "out" in first.keys
    assert len(others) >= 3
