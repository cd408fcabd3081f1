"""Runs of several seeds: which belong together, what they are called, and when one recipe is better."""

import shutil

import numpy as np
import polars as pl
import pytest
import yaml

from lookalike.cli.main import main
from lookalike.metrics.paired_tests import paired_differences
from lookalike.report.comparing import compare_evaluations
from lookalike.report.recipes import add_seed_variance, differing_parts, group_by_recipe, recipe_names

LABELS = [f"c{number}" for number in range(40) for _ in range(4)]


@pytest.fixture
def runs(evaluation, tmp_path, monkeypatch):
    """`runs(recipe=[noise of each seed])` makes run folders of several seeds, with their evaluations."""
    source = evaluation(LABELS, name="source")
    monkeypatch.chdir(tmp_path)

    def make(**recipes):
        names = []
        for recipe, noises in recipes.items():
            for seed, noise in enumerate(noises):
                folder = tmp_path / "runs" / f"{recipe}-seed{seed}"
                config = {"loss": {recipe: {"weight": 1}}, "epochs": 3, "seed": seed, "out": str(folder)}
                folder.mkdir(parents=True)
                (folder / "config.yaml").write_text(yaml.safe_dump({**config, "threads": seed + 1}))
                made = evaluation(LABELS, noise=noise, name=f"{recipe}{seed}", seed=0)
                per_query = pl.read_parquet(source / "per_query.parquet").select("path")
                table = pl.read_parquet(made / "per_query.parquet").with_columns(per_query)
                table.write_parquet(made / "per_query.parquet")
                shutil.move(made, folder / "evaluation")
                names.append(f"runs/{recipe}-seed{seed}")
        return names

    return make


def test_seeds_of_a_recipe_are_one_line_with_their_deviation(runs, capsys):
    names = runs(arcface=[0.20, 0.21, 0.22], triplet=[0.34, 0.35, 0.36])
    assert main(["compare", *names, "out=compared"]) == 0
    said = capsys.readouterr().out
    assert "arcface is better than triplet: map@r +" in said
    assert "over 3 seeds each" in said
    assert "group=false compares them one by one" in said
    table = pl.read_csv("compared/compare.csv")
    assert table["run"].to_list() == ["arcface", "triplet"]
    assert table["seeds"].to_list() == [3, 3]
    alone = compare_evaluations(names, ["map@r"], group=False)
    values = dict(zip(alone.names, (value["value"] for value in alone.values["map@r"]), strict=True))
    of_recipe = [values[f"arcface-seed{seed}"] for seed in range(3)]
    row = table.row(0, named=True)
    assert row["map@r"] == pytest.approx(np.mean(of_recipe))
    assert row["map@r_sd"] == pytest.approx(np.std(of_recipe, ddof=1))
    assert row["map@r_low"] < row["map@r"] < row["map@r_high"]


def test_seeds_that_differ_as_much_as_recipes_decide_nothing(runs, capsys):
    """Averaged over its seeds one recipe is better on these images, but other seeds may be worse."""
    names = runs(arcface=[0.20, 0.40], triplet=[0.25, 0.45])
    assert main(["compare", *names]) == 0
    said = capsys.readouterr().out
    assert "cannot tell arcface from triplet at 95 %: map@r" in said
    assert "is better" not in said


def test_metrics_of_pairs_are_averaged_over_seeds_too(runs):
    found = compare_evaluations(runs(a=[0.20, 0.22], b=[0.40, 0.42]), ["auc"])
    assert found.names == ["a", "b"]
    assert found.by_recipe
    assert found.differences["auc"][0].verdict == "worse"
    assert found.values["auc"][0]["seeds"] == 2


def test_seeds_of_a_single_recipe_are_compared_with_each_other(runs):
    found = compare_evaluations(runs(arcface=[0.2, 0.3]), ["map@r"])
    assert not found.by_recipe
    assert len(found.names) == 2


@pytest.mark.parametrize(
    ("names", "groups", "expected"),
    [
        (["arc-0", "arc-1", "tri-0", "tri-1"], [[0, 1], [2, 3]], ["arc", "tri"]),
        (["arc_seed1", "arc_seed2", "tri"], [[0, 1], [2]], ["arc", "tri"]),
        (["0/arc", "1/arc", "0/tri", "1/tri"], [[0, 1], [2, 3]], ["arc", "tri"]),
        (["resnet50-s0", "resnet50-s1", "resnet18-s0"], [[0, 1], [2]], ["resnet50", "resnet18-s0"]),
        (["x10", "x11", "x20", "x21"], [[0, 1], [2, 3]], ["loss=0", "loss=2"]),
        (["1", "2", "3", "4"], [[0, 1], [2, 3]], ["loss=0", "loss=2"]),
    ],
)
def test_a_recipe_is_called_what_its_runs_share(names, groups, expected):
    configs = [{"loss": index // 2 * 2, "seed": index} for index in range(len(names))]
    assert recipe_names(names, groups, configs) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/evaluation", "runs/b/evaluation"], ["a", "b"]),
        (["/x/runs/a/eval", "/x/other/a/eval"], ["runs", "other"]),
        (["a", "a/b"], ["a", "a/b"]),
        (["a/1/e", "a/e"], ["1/e", "e"]),
    ],
)
def test_names_keep_the_part_that_differs(names, expected):
    assert differing_parts(names) == expected


def test_only_seed_out_and_machine_may_differ():
    one = {"seed": 0, "out": "a", "threads": 1, "loss": {"x": {"scale": 1}}}
    other = {**one, "loss": {"x": {"scale": 2}}}
    same = {**one, "seed": 1, "out": "b", "threads": 2}
    assert group_by_recipe([one, other, same, None, None]) == [[0, 2], [1], [3], [4]]


def test_equal_recipes_are_rarely_called_different():
    """Of recipes that are alike, with seeds that vary more than identities, at most 5 % are called better."""
    rng, wrong = np.random.default_rng(0), 0
    groups = np.arange(60)
    for _ in range(200):
        seeds = rng.normal(0, 0.05, (2, 3))
        runs = rng.normal(0, 0.1, 60)[:, None, None] + seeds + rng.normal(0, 0.05, (60, 2, 3))
        tests = paired_differences(runs.mean(axis=2), groups, n=200)
        means = runs.mean(axis=0).tolist()
        wrong += add_seed_variance(tests, means, 60)[0].verdict != "cannot tell"
    assert wrong <= 14
