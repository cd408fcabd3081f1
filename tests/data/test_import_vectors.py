import numpy as np
import polars as pl
import pytest

from lookalike.data.import_vectors import import_vectors
from lookalike.errors import DataError

VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = ["007", "007", "b", "b", "c"]


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS)
    np.save(tmp_path / "labels.npy", np.array([2**63 - 1, 2**63 - 2, 1, 1, 1]))
    pl.DataFrame({"label": LABELS, "camera": [1, 2, 1, 2, 1]}).write_csv(tmp_path / "labels.csv")
    (tmp_path / "bare.csv").write_text("\n".join(LABELS))
    frame = pl.DataFrame({"id": range(5), "label": LABELS, "embedding": VECTORS.tolist()})
    frame.write_parquet(tmp_path / "list.parquet")
    frame.with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, 3))).write_parquet(
        tmp_path / "array.parquet"
    )
    named = {f"f{i}": column for i, column in enumerate(VECTORS.T)}
    pl.DataFrame({"label": LABELS, **named, "style": list("xyxyx")}).write_csv(tmp_path / "named.csv")
    np.savetxt(tmp_path / "numbers.csv", VECTORS, delimiter=",")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "labels"),
    [
        ("v.npy", "labels.csv"),
        ("v.npy", "bare.csv"),
        ("list.parquet", None),
        ("array.parquet", None),
        ("named.csv", None),
        ("numbers.csv", "labels.csv"),
    ],
)
def test_vectors_of_other_tools(folder, file, labels):
    vectors, frame = import_vectors(folder / file, labels and folder / labels)
    assert vectors == pytest.approx(VECTORS, rel=1e-6)
    assert frame["label"].to_list() == LABELS
    assert frame["split"].unique().to_list() == ["test"]
    assert frame["path"][4] == f"{file}#4"


def test_other_columns_stay_and_large_integers_too(folder):
    assert import_vectors(folder / "v.npy", folder / "labels.csv")[1]["camera"].to_list() == [1, 2, 1, 2, 1]
    assert import_vectors(folder / "named.csv")[1]["style"].to_list() == list("xyxyx")
    assert import_vectors(folder / "list.parquet")[1]["id"].to_list() == list(range(5))
    assert import_vectors(folder / "v.npy", folder / "labels.npy")[1]["label"][0] == 2**63 - 1
    assert (
        import_vectors(folder / "list.parquet", folder / "labels.npy")[1]["label"].to_list()[1] == 2**63 - 2
    )


def test_vectors_to_learn_on_need_no_labels(folder):
    assert import_vectors(folder / "v.npy", labelled=False)[1]["label"].to_list() == list(range(5))


def test_what_does_not_fit_is_said(folder):
    np.save(folder / "flat.npy", np.ones(3))
    np.save(folder / "floats.npy", np.ones(5))
    (folder / "broken.npy").write_text("no")
    pl.DataFrame({"label": ["a", "b"], "v": [[1.0, 2.0], [1.0]]}).write_parquet(folder / "ragged.parquet")
    pl.DataFrame({"label": ["a"], "v": [["x"]]}).write_parquet(folder / "words.parquet")
    pl.DataFrame({"label": ["a"], "v": [[1]], "w": [[1]]}).write_parquet(folder / "two.parquet")
    (folder / "hole.csv").write_text("label,f0,f1\nx,1,2\ny,,3\n")
    (folder / "letters.csv").write_text("label,a,b\nx,1,2\ny,4,3\n")
    (folder / "text.csv").write_text("label,name\nx,y\n")
    (folder / "short.csv").write_text("label\nx\ny\n")
    (folder / "other.csv").write_text("name,age\nx,1\n")
    for file, labels, said in (
        ("v.npy", None, "give labels=FILE"),
        ("flat.npy", "bare.csv", r"numbers \[N, D\]"),
        ("broken.npy", "bare.csv", "not a readable .npy"),
        ("nowhere.npy", "bare.csv", "nowhere.npy"),
        ("v.npy", "floats.npy", "labels must be integers or text"),
        ("v.npy", "short.csv", "2 labels for 5 vectors"),
        ("v.npy", "other.csv", "has no column 'label'"),
        ("v.npy", "labels.txt", "labels must be a .npy file or a table"),
        ("list.parquet", "short.csv", "2 rows for 5 vectors"),
        ("ragged.parquet", None, "have different lengths"),
        ("words.parquet", None, "do not contain numbers"),
        ("two.parquet", None, "name the one with the vectors `vector`"),
        ("hole.csv", None, "missing in row 1"),
        ("letters.csv", None, "its numeric columns do not show which ones"),
        ("text.csv", None, "neither a column of vectors nor numeric columns"),
    ):
        with pytest.raises(DataError, match=said):
            import_vectors(folder / file, labels and folder / labels)
