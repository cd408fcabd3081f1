import json

import numpy as np
import polars as pl
import pytest
from PIL import Image
from planted_copies import scene

import lookalike
from lookalike.clean.calibration import calibrate
from lookalike.clean.identities import group_labels
from lookalike.cli.main import main
from lookalike.data.table import Table, read_table
from lookalike.embeddings import Embeddings
from lookalike.errors import DataError


@pytest.fixture(scope="module")
def result(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("clean") / "out"
    return lookalike.clean(dataset[0], dataset[1], out=out), out


def of_kind(findings, kind):
    return findings.filter(pl.col("kind") == kind)


def pairs_of(findings):
    return {frozenset(pair) for pair in findings.select("path_a", "path_b").iter_rows()}


def embeddings_for(embeddings, table):
    """The same vectors for another table of these images."""
    names = {path.split("photos/")[1]: row for row, path in enumerate(embeddings.table.frame["path"])}
    rows = [names[path.split("photos/")[1]] for path in table.frame["path"]]
    return Embeddings(embeddings.vectors[rows], table, embeddings.space)


def test_every_planted_error_is_found(dataset, result):
    findings, truth = result[0].findings, dataset[2]
    copies = {frozenset(pair) for pair in [*truth["copies"], truth["leak"]]}
    assert pairs_of(of_kind(findings, "near_duplicate")) == copies
    assert pairs_of(of_kind(findings, "leak")) == {frozenset(truth["leak"])}
    wrong = of_kind(findings, "wrong_label").filter(pl.col("score") >= 0.5)
    expected = {("photos/05/0.png", "c05"), ("photos/07/1.png", "c07"), ("photos/20/leak.png", "c06")}
    assert set(wrong.select("path_a", "label_b").iter_rows()) == expected
    same = of_kind(findings, "duplicate_identity").filter(pl.col("score") >= 0.5)
    assert [set(pair) for pair in same.select("label_a", "label_b").iter_rows()] == [{"c03", "c03 again"}]


def test_the_folder_has_the_documented_columns(result):
    findings = pl.read_parquet(result[1] / "findings.parquet")
    assert findings.columns[:7] == ["kind", "path_a", "path_b", "label_a", "label_b", "group", "score"]
    assert findings["score"].is_between(0, 1).all()
    for _, part in findings.group_by("kind"):
        assert part["score"].is_sorted(descending=True)
    assert (result[1] / "review.html").is_file()
    assert (result[1] / "config.yaml").is_file()


def test_the_patch_is_applied_and_undone_bit_for_bit(dataset, result, tmp_path):
    table = dataset[0]
    words = ["prepare", f"patch={result[1]}/patch.jsonl"]
    assert main([*words, f"dataset={table.folder}", f"out={tmp_path}/after"]) == 0
    after = read_table(tmp_path / "after").frame
    labels = dict(zip((path.split("photos/")[1] for path in after["path"]), after["label"], strict=True))
    assert labels["05/0.png"] == "c05"
    assert labels["03/5.png"] == labels["03/0.png"]
    assert len(after) == len(table) - 4
    assert "06/2.png" not in labels, "of a leak the training image goes"
    assert main([*words, f"dataset={tmp_path}/after", "undo=true", f"out={tmp_path}/undone"]) == 0
    undone = read_table(tmp_path / "undone").relative_to(table.folder).frame
    assert undone.equals(table.frame)
    assert undone.schema == table.frame.schema


def test_after_rejecting_everything_nothing_is_proposed(dataset, result, tmp_path):
    table, embeddings, _ = dataset
    findings = result[0].findings
    assert len(findings) > 5
    who = {"author": "Ann", "note": "", "at": "2026-05-01T12:00:00+00:00"}
    lines = [{"lookalike_patch": 1, "root": ""}]
    labels = table.frame["label"].to_list()
    for row in findings.iter_rows(named=True):
        a, b = row["row_a"], row["row_b"]
        one = {"path": row["path_a"], "label": labels[a], "kind": row["kind"], **who}
        other = {} if b is None else {"other": row["path_b"], "other_label": labels[b]}
        lines.append({"do": "different" if other else "keep", **one, **other})
    patch = tmp_path / "reject.jsonl"
    patch.write_text("\n".join(map(json.dumps, lines)))
    assert main(["prepare", f"patch={patch}", f"dataset={table.folder}", f"out={tmp_path}/again"]) == 0
    again = read_table(tmp_path / "again")
    assert len(lookalike.clean(again, embeddings_for(embeddings, again))) == 0
    assert (
        main(["prepare", "filter", f"dataset={tmp_path}/again", "min_images=2", f"out={tmp_path}/derived"])
        == 0
    )
    derived = read_table(tmp_path / "derived")
    assert len(lookalike.clean(derived, embeddings_for(embeddings, derived))) == 0


def test_two_runs_agree(dataset, result):
    assert lookalike.clean(dataset[0], dataset[1]).findings.equals(result[0].findings)


def test_calibration_knows_the_share_of_errors():
    generator = np.random.default_rng(0)
    right, wrong = generator.normal(-1.5, 1, (1900, 1)), generator.normal(1.5, 1, (100, 1))
    data = np.concatenate([right, wrong])
    probability = calibrate(data, generator.normal(1.5, 1, (1000, 1)))
    assert 0.03 < probability.mean() < 0.08
    is_wrong = np.arange(2000) >= 1900
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        part = (probability >= low) & (probability < high)
        assert abs(is_wrong[part].mean() - probability[part].mean()) < 0.2
    assert (calibrate(right, generator.normal(6, 1, (500, 1))) < 0.5).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_calibration_knows_a_large_share_of_errors(share):
    generator = np.random.default_rng(1)
    count = round(2000 * share)
    right, wrong = generator.normal(-2, 1, (2000 - count, 2)), generator.normal(2, 1, (count, 2))
    probability = calibrate(np.concatenate([right, wrong]), generator.normal(2, 1, (1000, 2)))
    assert abs(probability.mean() - share) < 0.05
    assert not count or (probability[2000 - count :] >= 0.5).mean() > 0.9
    assert (probability[: 2000 - count] >= 0.5).mean() < 0.02


def test_labels_are_grouped_by_evidence_for_every_pair():
    pairs = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5]])
    groups = group_labels(pairs, np.array([0.9, 0.8, 0.7, 0.9, 0.8]))
    assert sorted(map(sorted, groups)) == [[0, 1, 2], [3, 4]], "3, 4 and 5 are a chain"


def write_table(folder, images, labels, **columns):
    for name, image in images.items():
        if isinstance(image, bytes):
            (folder / name).write_bytes(image)
        elif image is not None:
            image.save(folder / name)
    values = {"path": list(images), "label": labels, "split": ["train"] * len(images), **columns}
    return Table(pl.DataFrame(values), folder)


def test_poor_images_are_remarked_on(tmp_path):
    images = {f"{number}.png": scene(number, (128, 96)) for number in range(30)}
    images |= {
        "empty.png": b"",
        "blank.png": Image.new("RGB", (60, 60), "white"),
        "tiny.png": scene(90, (12, 12)),
        "long.png": scene(91, (400, 40)),
        "blurred.png": scene(92, (16, 12))
        .resize((128, 96), Image.Resampling.BICUBIC)
        .resize((8, 6))
        .resize((128, 96)),
        "dark.png": scene(93, (128, 96)).point(lambda value: value // 12),
    }
    table = write_table(tmp_path, images, ["a", "b"] * 18)
    cleaning = lookalike.clean(table, identities=False)
    remarks = dict(of_kind(cleaning.findings, "quality").select("path_a", "evidence").iter_rows())
    words = {
        "empty": "0 bytes",
        "blank": "blank",
        "tiny": "small",
        "long": "shape",
        "blurred": "blurred",
        "dark": ("underexposed", "low contrast"),
    }
    assert set(remarks) == {f"{name}.png" for name in words}
    for name, word in words.items():
        words_of = word if isinstance(word, tuple) else (word,)
        assert any(one in remarks[f"{name}.png"] for one in words_of)
    assert [problem.path for problem in cleaning.skipped] == ["empty.png"]
    dropped = {change["path"].split("/")[-1] for change in cleaning.changes if change["do"] == "drop"}
    assert dropped == {"empty.png", "blank.png"}


def test_leaks_by_encounter_day_and_identity(tmp_path):
    images = {f"{number}.png": scene(number, (64, 48)) for number in range(12)}
    table = write_table(tmp_path, images, [f"c{number // 2}" for number in range(12)])
    split = ["train", "test", "train", "test", *["train"] * 2, *["test"] * 6]
    columns = {"split": split, "encounter": ["e1", "e1", *[f"x{number}" for number in range(10)]]}
    dates = ["2020-01-01", "2021-01-01", "2022-05-05 10:00", "2022-05-05 18:00", *["2019-01-01"] * 8]
    frame = table.frame.with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}, date=pl.Series(dates)
    )
    leaks = of_kind(lookalike.clean(Table(frame, tmp_path), identities=False).findings, "leak")
    texts = sorted(leaks["evidence"].to_list())
    assert texts == [
        "date 2022-05-05 of 'c1' is in train and test",
        "encounter e1 of 'c0' is in train and test",
        "identity 'c0' is in train and test",
        "identity 'c1' is in train and test",
    ]


@pytest.mark.parametrize("labels", [["a", "a"], ["a", "b"]])
def test_two_images_are_too_few_to_judge_labels(tmp_path, labels, caplog):
    table = write_table(tmp_path, {"0.png": scene(0), "1.png": scene(0)}, labels)
    cleaning = lookalike.clean(table)
    assert cleaning.count_kinds()["near_duplicate"] == 1
    assert "were not looked for" in caplog.text


def test_an_animated_file_counts_by_its_first_frame(tmp_path):
    frames = [scene(0).convert("P"), scene(1).convert("P")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    images = {"a.gif": None, "b.png": frames[0].convert("RGB"), "c.png": scene(2)}
    table = write_table(tmp_path, images, ["a", "a", "b"])
    findings = lookalike.clean(table, identities=False).findings
    assert findings.filter(pl.col("kind") == "near_duplicate")["evidence"].to_list() == [
        "all pixels are equal"
    ]


def test_a_table_without_files_is_one_clear_error(tmp_path, capsys):
    frame = pl.DataFrame({"path": ["a.png", "b.png"], "label": ["a", "b"], "split": ["train"] * 2})
    frame.write_csv(tmp_path / "table.csv")
    assert main(["clean", f"dataset={tmp_path}/table.csv", f"out={tmp_path}/out", "workers=0"]) == 1
    assert "none of the 2 images can be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="no rows"):
        lookalike.clean(Table(frame.clear(), tmp_path))


def test_wrong_arguments_are_refused(dataset):
    with pytest.raises(ValueError, match="threshold 65: must be from 0 to 64"):
        lookalike.clean(dataset[0], threshold=65)
    with pytest.raises(ValueError, match="accept 2: must be from 0 to 1"):
        lookalike.clean(dataset[0], accept=2)
    with pytest.raises(DataError, match="lack 1 images of the table"):
        lookalike.clean(dataset[0], dataset[1][1:])
