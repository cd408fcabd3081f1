"""The jobs that work on prepared datasets, from the command line."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from lookalike.cli import main
from lookalike.data.table import read_table
from lookalike.plots.class_size_chart import class_size_figure, size_edges


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """A prepared dataset of six classes with 1, 2, 3, 4, 5 and 6 images, 20 to 25 pixels wide."""
    root = tmp_path_factory.mktemp("animals")
    for size in range(1, 7):
        for number in range(size):
            (root / "photos" / f"c{size}").mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (20 + number, 30), (40 * size, 50 * number, 0))
            image.save(root / "photos" / f"c{size}" / f"{number}.{'jpg' if size == 6 else 'png'}")
    shutil.copy(root / "photos" / "c2" / "0.png", root / "photos" / "c3" / "0.png")
    (root / "photos" / "c5" / "0.png").rename(root / "photos" / "c5" / "0.jpg")
    argv = [
        f"source.root={root / 'photos'}",
        f"out={root / 'data' / 'animals'}",
        "workers=0",
        "progress=false",
    ]
    assert main.main(["prepare", *argv]) == 0
    return root / "data" / "animals"


@pytest.fixture
def run(animals, tmp_path, monkeypatch, capsys):
    """`run("stats", …)` runs `lookalike prepare stats …`; returns the exit code, output and messages."""
    monkeypatch.chdir(tmp_path)
    data = f"data_dir={animals.parent}"

    def go(*words):
        code = main.main(["prepare", *words, *([data] if words else [])])
        out, err = capsys.readouterr()
        return code, out, err

    return go


def test_a_split_is_written_with_its_counts(run, tmp_path):
    code, out, err = run("split", "dataset=animals", "split=kfold", "split.folds=3", "seed=2", "out=folds")
    assert (code, out) == (0, "folds\n"), err
    table = read_table(tmp_path / "folds")
    assert table.frame.columns == ["path", "label", "split", "width", "height", "fold"]
    counts = pl.read_csv(tmp_path / "folds" / "counts.csv")
    assert counts["images"].to_list() == [7, 7, 7] and counts["split"].to_list() == ["train", "train", "test"]
    about = yaml.safe_load((tmp_path / "folds" / "config.yaml").read_text())
    assert about["split"]["folds"] == 3 and about["split"]["seed"] == 2
    assert "fold 2: 7 images" in err and "3 classes have fewer images than there are folds" not in err
    assert run("split", "dataset=animals", "split=kfold", "out=folds")[0] == 1, "what exists is refused"


def test_prepare_itself_takes_every_kind_of_split(animals, tmp_path):
    root = animals.parents[1] / "photos"
    argv = [f"source.root={root}", f"out={tmp_path / 'x'}", "workers=0", "progress=false", "check=false"]
    assert main.main(["prepare", *argv, "split=reference", "split.references=2"]) == 0
    frame = read_table(tmp_path / "x").frame
    assert set(frame["split"]) == {"test"} and (frame["role"] == "gallery").sum() == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["split", "split=kfold", "split.fold=5"], "split.fold=5: must be from 0 to 4 with 5 folds"),
        (["split", "split=kfold", "split.folds=1"], "split.folds=1: must be at least 2"),
        (["split", "split=kfold", "of=[training]"], "of=[training]: each must be one of train, val, test"),
        (["split", "val=0.7", "test=0.7"], "add up to more than 1"),
        (["filter"], "nothing to filter by"),
        (["filter", "keep=nowhere.txt"], "keep=nowhere.txt: there is no such file"),
        (["filter", "min_images=3", "max_images=2"], "max_images=2 is less than min_images=3"),
        (["stat"], "Did you mean `lookalike prepare stats`?"),
        (["statistics"], "Did you mean `lookalike prepare stats`?"),
        (["animals"], "written key=value, as in `lookalike prepare source=folder"),
        (["shots/"], "written key=value, as in `lookalike prepare source=folder"),
    ],
)
def test_wrong_keys(run, tmp_path, words, said):
    code, _, err = run(words[0], "dataset=animals", "out=x", *words[1:])
    assert code == 2 and said in err
    assert not (tmp_path / "x").exists()


def test_rows_are_taken_out_and_listed(run, tmp_path):
    code, _, err = run("filter", "dataset=animals", "min_images=3", "max_images=4", "out=few")
    assert code == 0, err
    table = read_table(tmp_path / "few")
    assert sorted(pl.Series(table.labels).value_counts()["count"]) == [3, 4, 4, 4]
    gone = pl.read_csv(tmp_path / "few" / "left_out.csv")
    assert gone.columns == ["path", "label", "row", "reason"] and len(gone) == 6


def test_pairs_come_along(run, animals, tmp_path):
    shutil.copytree(animals, animals.parent / "paired")
    paths = read_table(animals).frame["path"]
    pairs = {"path_a": [paths[0], paths[5]], "path_b": [paths[1], paths[6]], "same": [0, 1]}
    pl.DataFrame(pairs).write_csv(animals.parent / "paired" / "pairs.csv")
    try:
        code, _, err = run("filter", "dataset=paired", "min_images=2", "out=sub/few")
    finally:
        shutil.rmtree(animals.parent / "paired")
    assert code == 0 and "1 pair left out: an image is missing" in err
    kept = pl.read_csv(tmp_path / "sub" / "few" / "pairs.csv")
    assert kept["path_a"][0] in set(read_table(tmp_path / "sub" / "few").frame["path"]) and len(kept) == 1


def test_datasets_are_merged(run, animals, tmp_path):
    code, _, err = run("merge", "animals", str(animals), "out=both")
    assert code == 1 and "6 labels occur in several datasets" in err and "21 rows show a file" in err
    assert not (tmp_path / "both").exists()
    code, _, err = run("merge", "animals", str(animals), "prefixes=[a/,b/]", "files=first", "out=both")
    assert code == 0, err
    assert err.count("none of its rows is kept") == 1 and f"{animals}: none of its rows is kept" in err
    assert len(read_table(tmp_path / "both")) == 21
    assert len(pl.read_csv(tmp_path / "both" / "clashes.csv")) == 21
    code, _, err = run("merge", "animals", str(animals), "prefixes=[a/]", "out=c")
    assert code == 2 and "1 for 2 datasets" in err
    assert run("merge", "animals", "out=c")[0] == 2


def test_datasets_joined_for_one_job_may_have_columns_of_other_types(run, animals, tmp_path):
    table = read_table(animals).relative_to(tmp_path / "other").frame
    other = table.with_columns(pl.col("width").cast(pl.Float64), label="x" + pl.col("label"))
    (tmp_path / "other").mkdir()
    other.write_parquet(tmp_path / "other" / "table.parquet")
    code, _, err = run("split", "dataset=[animals,other]", "split=kfold", "split.folds=3", "out=both")
    assert code == 0, err
    found = read_table(tmp_path / "both").frame
    assert len(found) == 42 and found.schema["width"] == pl.Float64
    other.with_columns(width=pl.concat_list("width")).write_parquet(tmp_path / "other" / "table.parquet")
    code, _, err = run("split", "dataset=[animals,other]", "out=again")
    assert code == 1 and "animals, other: their columns cannot be combined" in err


def test_statistics_are_printed_written_and_drawn(run, animals, tmp_path):
    code, out, err = run("stats", "dataset=animals", "duplicates=true")
    assert code == 0, err
    assert out.splitlines()[-1] == "stats/animals"
    assert "21 of 6 classes, in 21 files" in out and "1 to 6, median 3.5, mean 3.5" in out
    folder = tmp_path / "stats" / "animals"
    found = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
    assert found["class_sizes"]["single_images"] == 1
    assert found["class_sizes"]["classes_with_fewer_than"] == {"2": 1, "3": 2, "5": 4}
    assert found["pixels"]["width"] == {"min": 20, "median": 21, "max": 25}
    assert found["pixels"]["shorter_side"]["max"] == 25
    assert found["formats"]["by_content"] == {"PNG": 15, "JPEG": 6}
    assert found["formats"]["with_another_ending"] == 1
    assert found["duplicates"]["files_too_many"] == found["duplicates"]["groups_under_several_labels"] == 1
    splits = dict(read_table(animals).frame["split"].value_counts().iter_rows())
    assert {row["split"]: row["images"] for row in found["splits"]} == splits
    sizes = pl.read_csv(folder / "class_sizes.csv")
    assert sizes["label"].to_list() == ["c6", "c5", "c4", "c3", "c2", "c1"]
    assert pl.read_csv(folder / "duplicates.csv")["label"].to_list() == ["c2", "c3"]
    assert Image.open(folder / "class_sizes.png").width > 1000
    assert run("stats", "dataset=animals")[0] == 0, "again, and what was there is replaced"
    assert not (folder / "duplicates.csv").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    assert run("stats", "dataset=animals", "out=mine")[0] == 1
    assert main.main(["prepare-stats", "dataset=nowhere"]) == 2


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [5] * 30,
        [1, 1, 2, 90],
        list(range(1, 60)),
        list(range(35, 144)),
        [1] * 900 + [3, 70, 4_000, 100_000],
        [10**6] * 3,
    ],
    ids=["one", "even", "far", "many", "wide", "long tail", "huge"],
)
def test_every_class_is_in_one_bar(sizes, tmp_path):
    edges = size_edges(np.array(sizes))
    assert np.histogram(sizes, edges)[0].sum() == len(sizes)
    assert (np.diff(edges) > 0).all() and (np.diff(np.diff(edges)) >= 0).all(), "bars never get narrower"
    assert len(edges) <= 60
    figure = class_size_figure(np.array(sizes), "$5 & <b>")
    figure.savefig(tmp_path / "x.png")
    scales = {axes.get_xscale() for axes in figure.axes[:1]}
    assert scales == (
        {"log"} if max(sizes) - min(sizes) >= 40 and max(sizes) > 20 * min(sizes) else {"linear"}
    )


@pytest.mark.parametrize("sizes", [[], [0, 3]])
def test_classes_without_images_are_not_drawn(sizes):
    with pytest.raises(ValueError, match="at least one class"):
        class_size_figure(np.array(sizes))
