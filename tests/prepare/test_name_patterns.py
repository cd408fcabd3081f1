"""Identity and camera from file names, and the layouts of re-identification datasets."""

import logging

import pytest

from lookalike.errors import ConfigError, DataError
from lookalike.prepare.folder import table

NAMES = {  # of published datasets: file name, identity, camera, pattern
    "Market-1501": ("0002_c1s1_000451_03.jpg", "0002", "1", "reid"),
    "Market-1501, junk": ("-1_c1s1_000401_03.jpg", "-1", "1", "reid"),
    "DukeMTMC-reID": ("0005_c2_f0046985.jpg", "0005", "2", "reid"),
    "VeRi-776": ("0002_c002_00030600_0.jpg", "0002", "002", "reid"),
    "CUHK03-NP": ("0003_c1_21.png", "0003", "1", "reid"),
    "MSMT17": ("0000_004_05_0303morning_0020_0.jpg", "0000", "05", "msmt17"),
    "Oxford-IIIT Pet": ("great_pyrenees_12.jpg", "great_pyrenees", None, "numbered"),
    "a phone": ("Tom (3).jpg", "Tom", None, "numbered"),
    "LFW": ("Aaron_Peirsol_0002.jpg", "Aaron_Peirsol", None, "numbered"),
}


@pytest.fixture
def tree(tmp_path):
    def make(*names):
        for name in names:
            file = tmp_path / "photos" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
        return tmp_path / "photos"

    return make


def market(*folders, form="{:04}_c{}s1_000451_03.jpg"):
    for folder in folders:
        start = 2 if "train" in folder else 1000
        yield from (
            f"{folder}/{form.format(identity, camera)}"
            for identity in range(start, start + 4)
            for camera in (1, 2, 3)
        )


@pytest.mark.parametrize("name", NAMES)
def test_names_of_published_datasets(tree, name):
    file, label, camera, pattern = NAMES[name]
    other = {"reid": "0900_c3_x.jpg", "msmt17": "0001_000_02_0303noon_0_1.jpg", "numbered": "Other_1.jpg"}
    found, problems = table(tree(f"a/{file}", f"a/{other[pattern]}", "a/0901_c1_x.jpg"), pattern=pattern)
    rows = {row["path"]: row for row in found.frame.to_dicts()}
    if label == "-1":
        assert f"a/{file}" not in rows
        assert any("junk" in one.reason for one in problems)
        return
    assert rows[f"a/{file}"]["label"] == label
    assert rows[f"a/{file}"].get("group") == camera


@pytest.mark.parametrize(
    ("folders", "form"),
    [
        (("bounding_box_train", "query", "bounding_box_test"), "{:04}_c{}s1_000451_03.jpg"),
        (("bounding_box_train", "query", "bounding_box_test"), "{:04}_c{}_f0046985.jpg"),
        (("image_train", "image_query", "image_test"), "{:04}_c{:03}_00030600_0.jpg"),
    ],
)
def test_whole_datasets_are_recognised_and_said(tree, caplog, folders, form):
    root = tree(*market(*folders, form=form), "readme.txt", "gt_query/a.mat")
    with caplog.at_level(logging.INFO, "lookalike"):
        found, _ = table(root)
    assert found.frame["label"].n_unique() == 8
    assert found.frame["group"].n_unique() == 3
    seen = found.frame.group_by("split", "role").len().sort("split", "role").rows()
    assert set(seen) == {("train", None, 12), ("test", "query", 12), ("test", "gallery", 12)}
    assert "source.pattern=reid" in caplog.text
    assert "8 identities and 3 cameras (column group)" in caplog.text


def test_junk_distractors_and_copies_of_market(tree, caplog):
    extra = (
        "bounding_box_test/-1_c1s1_1_1.jpg",
        "bounding_box_test/0000_c2s1_1_1.jpg",
        "gt_bbox/1000_c1s1_1.jpg",
    )
    with caplog.at_level(logging.INFO, "lookalike"):
        found, problems = table(tree(*market("bounding_box_train", "query", "bounding_box_test"), *extra))
    roles = dict(zip(found.frame["path"], found.frame["role"], strict=True))
    assert roles["bounding_box_test/0000_c2s1_1_1.jpg"] == "distractor"
    assert {one.path for one in problems} == {extra[0], extra[2]}
    assert "1 image of identity 0 in the gallery are distractors" in caplog.text


def test_msmt17_counts_its_identities_anew_in_the_test_half(tree, caplog):
    root = tree(*(f"{s}/000{i}/000{i}_00{k}_0{k}_0303morning_0020_0.jpg"
                  for s in ("train", "test") for i in range(3) for k in (1, 2)))  # fmt: skip
    assert table(root)[0].frame["label"].n_unique() == 3
    assert "add source.pattern=msmt17" in caplog.text
    found, _ = table(root, pattern="msmt17")
    assert sorted(found.frame["label"].unique()) == [
        f"{s}-000{i}" for s in ("test", "train") for i in range(3)
    ]


@pytest.mark.parametrize("below", ["", "images/"])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("{:04}_c{}s1_1_1.jpg", "reid"),
        ("cat{:04}x_{}.jpg", "numbered"),
        ("0{}_00_0{}_0303noon_1.jpg", "msmt17"),
    ],
)
def test_files_without_class_folders_get_the_key_that_reads_them(tree, below, form, name):
    root = tree(*(below + form.format(identity, number) for identity in range(1, 5) for number in (1, 2, 3)))
    with pytest.raises(DataError, match=rf"add source\.pattern={name}"):
        table(root)
    assert table(root, pattern=name)[0].frame["label"].n_unique() == 4


def test_plain_photos_get_no_pattern(tree):
    with pytest.raises(DataError) as caught:
        table(tree(*(f"IMG_{number}.jpg" for number in range(9))))
    assert "source.pattern" not in str(caught.value)
    assert "a folder of its own" in str(caught.value)


def test_a_pattern_of_the_users(tree):
    root = tree("x/tom-left-1.jpg", "x/mia-right-2.jpg", "x/nobody.jpg")
    found, problems = table(root, pattern=r"(?P<label>[a-z]+)-(?P<side>[a-z]+)-(?P<camera>\d)")
    assert found.frame.select("label", "side", "group").rows() == [
        ("mia", "right", "2"),
        ("tom", "left", "1"),
    ]
    assert str(problems[0]).startswith("x/nobody.jpg: its name does not match")
    found, _ = table(tree("cam1/eve/a.jpg", "cam2/joe/b.jpg"), pattern=r"(?P<camera>cam\d)/(?P<label>[^/]+)/")
    assert found.frame.select("label", "group").rows() == [("eve", "cam1"), ("joe", "cam2")]


@pytest.mark.parametrize("pattern", ["(", "nothing", r"(?P<name>\d)", r"(?P<label>\d)(?P<path>\d)"])
def test_wrong_patterns_are_refused_with_what_is_allowed(tree, pattern):
    with pytest.raises(ConfigError, match="label"):
        table(tree("a/1.jpg", "b/2.jpg"), pattern=pattern)


def test_a_pattern_that_fits_nothing(tree):
    with pytest.raises(DataError, match="none of the 2 images has a name that matches source"):
        table(tree("a/1.jpg", "b/2.jpg"), pattern="reid")


def test_query_and_gallery_folders_of_classes(tree):
    names = [
        f"{part}/c{i}/{k}.jpg" for part in ("query", "gallery", "train") for i in range(2) for k in (1, 2)
    ]
    found, _ = table(tree(*names))
    assert set(found.frame.select("split", "role").rows()) == {
        ("test", "query"), ("test", "gallery"), ("train", None)
    }  # fmt: skip
    assert set(found.frame["label"]) == {"c0", "c1"}
    assert "role" not in table(tree(*names), splits=False)[0].frame.columns


def test_names_of_persons_that_differ_in_case_are_one_or_refused(tree):
    root = tree("Tom_1.jpg", "tom_2.jpg", "mia_1.jpg")
    with pytest.raises(DataError, match=r"source\.names=merge"):
        table(root, pattern="numbered")
    assert table(root, pattern="numbered", names="merge")[0].frame["label"].n_unique() == 2
