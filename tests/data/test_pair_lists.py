import pytest

from lookalike.data.pairs import read_pairs, resolve_pair_paths
from lookalike.errors import DataError

LFW = """2\t2
Abel_Pacheco\t1\t4
Ann Lee\t12\t3
Abdel_Madi\t1\tDean_Barker\t10
Abel_Pacheco\t2\tAnn Lee\t3
Zoe\t1\t2
Yan\t1\t2
Zoe\t1\tYan\t2
Yan\t3\tZoe\t4
"""


def test_the_list_of_lfw(tmp_path):
    (tmp_path / "pairs.txt").write_text(LFW)
    pairs = read_pairs(tmp_path / "pairs.txt")
    assert [pair.same for pair in pairs] == [True, True, False, False] * 2
    assert [pair.fold for pair in pairs] == [0] * 4 + [1] * 4
    assert (pairs[0].first, pairs[0].second) == (
        "Abel_Pacheco/Abel_Pacheco_0001",
        "Abel_Pacheco/Abel_Pacheco_0004",
    )
    assert (pairs[2].first, pairs[2].second) == ("Abdel_Madi/Abdel_Madi_0001", "Dean_Barker/Dean_Barker_0010")
    assert pairs[1].first == "Ann Lee/Ann Lee_0012"


def test_a_list_without_folds_is_cut(tmp_path):
    (tmp_path / "pairs.txt").write_text("4\nA 1 2\nB 1 2\nA 1 B 1\nB 2 A 1\n")
    assert [pair.fold for pair in read_pairs(tmp_path / "pairs.txt", folds=2)] == [0, 0, 1, 1]


def test_csv_with_and_without_header_and_folds(tmp_path):
    (tmp_path / "a.csv").write_text(
        "one,two,same,fold\na.jpg,b.jpg,1,7\n\na.jpg,'c,.jpg',False,8\n".replace("'", '"')
    )
    pairs = read_pairs(tmp_path / "a.csv")
    assert [(pair.second, pair.same, pair.fold) for pair in pairs] == [
        ("b.jpg", True, 7),
        ("c,.jpg", False, 8),
    ]
    (tmp_path / "b.csv").write_text("a.jpg,b.jpg,same\na.jpg,c.jpg,different\n")
    assert [pair.same for pair in read_pairs(tmp_path / "b.csv")] == [True, False]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "a,b,1\na,b\n", "line 2|row 2"),
        ("p.csv", "a,b,1\na,b,maybe\n", "must be path,path,1"),
        ("p.csv", "", "contains no pairs"),
        ("p.txt", "10\t300\nA\t1\tx\n", "must be name i j"),
        ("p.txt", "A 1 2\nA\n", "must be name i j"),
    ],
)
def test_what_is_not_understood_is_listed(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_pairs(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path / "nowhere.csv")


def test_names_are_matched_by_the_end_of_their_path():
    paths = ["../photos/a/1.jpg", "../photos/b/1.jpg", "../photos/b/2.jpg", "x/c/3.png", "y/c/3.png"]
    names = [
        "../photos/a/1.jpg",
        "a/1.jpg",
        "b/1",
        "2.jpg",
        "1.jpg",
        "c/3.png",
        "9.jpg",
        "data\\b\\2.jpg",
        "",
    ]
    assert resolve_pair_paths(names, paths).tolist() == [0, 0, 1, 2, -2, -2, -1, 2, -1]
