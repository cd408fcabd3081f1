"""COCO JSON, YOLO text and Pascal VOC XML: every object is a row with its box, or is listed with file and
row."""

import contextlib
import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.errors import DataError
from lookalike.prepare.dataset import with_sizes
from lookalike.prepare.files import check_header
from lookalike.prepare.sources import coco, voc, yolo

BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<annotation><filename>a.png</filename><object><name>&b;</name></object></annotation>"""
OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<annotation><object><name>&f;</name></object></annotation>"
)


def picture(file, size=(100, 50)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file)


def rows(found):
    kept, problems, _ = with_sizes(found, [check_header(found.file(row)) for row in range(len(found))])
    assert not problems
    return kept.frame.select("path", "label", "x1", "y1", "x2", "y2").rows()


@pytest.fixture
def coco_file(tmp_path):
    for name in "abc":
        picture(tmp_path / "val2017" / f"{name}.png")
    images = [
        {"id": n, "file_name": f"{name}.png", "width": 100, "height": 50} for n, name in enumerate("abc")
    ]

    def write(annotations, name="instances_val2017.json"):
        file = tmp_path / "annotations" / name
        file.parent.mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "cat"}]}
        file.write_text(json.dumps(content))
        return file

    return write


def annotation(image, box, category=7, **more):
    return {"id": 1, "image_id": image, "category_id": category, "bbox": box, **more}


def test_coco(coco_file, caplog):
    caplog.set_level("INFO")
    file = coco_file(
        [
            annotation(0, [0, 0, 50, 50], cat="Tom"),
            annotation(0, [50, 0, 50, 50], cat=7),
            annotation(1, [0, 0, 0, 5]),
            annotation(1, [0, 0, 9, 9], iscrowd=1),
            annotation(5, [0, 0, 9, 9]),
            annotation(1, [0, 0, 9, 9], category=8),
            annotation(1, "x"),
        ]
    )
    found, problems = coco.table(file)
    assert rows(found) == [("a.png", "cat", 0, 0, 50, 50), ("a.png", "cat", 50, 0, 100, 50)]
    assert "images are in" in caplog.text
    said = [str(problem) for problem in problems]
    assert (
        "b.png, row 2: bbox [0, 0, 0, 5]: width and height must be above 0 (instances_val2017.json)" in said
    )
    assert any("iscrowd" in one for one in said) and any("image_id 5 is not" in one for one in said)
    assert any("category_id 8 is not" in one for one in said) and any("bbox 'x'" in one for one in said)
    assert "c.png: no row of the table refers to it" in said
    assert [row[1] for row in rows(coco.table(file, label="cat")[0])] == ["Tom", "7"]
    with pytest.raises(DataError, match="has no field 'name'"):
        coco.table(file, label="name")


def test_coco_with_a_file_for_each_split(coco_file):
    train = coco_file([annotation(0, [0, 0, 9, 9])], "train.json")
    val = coco_file([annotation(1, [0, 0, 9, 9])], "val.json")
    root = train.parent.parent / "val2017"
    found, _ = coco.table({"train": str(train), "valid": str(val)}, root)
    assert found.frame["split"].to_list() == ["train", "val"]
    with pytest.raises(DataError, match="must be train, val or test"):
        coco.table({"all": str(train)})


@pytest.mark.parametrize(
    "content", ["{}", "[]", "3", "{", '{"images": [3], "annotations": [], "categories": []}']
)
def test_what_is_not_coco(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"COCO|not readable JSON"):
        coco.table(tmp_path / "a.json")


def test_coco_without_its_images(coco_file, tmp_path):
    file = coco_file([annotation(0, [0, 0, 9, 9])]).rename(tmp_path / "deep.json")
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"source\.root="):
        coco.table(file)
    assert len(coco.table(file, tmp_path / "elsewhere")[0]) == 1


def write_yolo(folder, texts, names="names: [cat, dog]\n"):
    for path, text in texts.items():
        picture(folder / "images" / f"{path}.png")
        if text is not None:
            file = folder / "labels" / f"{path}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if names:
        (folder / "data.yaml").write_text(names)


def test_yolo(tmp_path):
    texts = {
        "train/a": "0 0.25 0.5 0.5 1\n1 0.75 0.5 0.5 1 0.9\n",
        "valid/b": "1 0.1 0.2 0.5 0.2 0.5 0.8\n",
        "test/c": "5 0.5 0.5 1 1\nx 0.5 0.5 1 1\n0 10 10 50 50\n0 0.5 0.5\n0 0.5 0.5 0 1\n",
        "test/d": None,
    }
    write_yolo(tmp_path, texts)
    found, problems = yolo.table(tmp_path)
    assert rows(found) == [
        ("images/train/a.png", "cat", 0, 0, 50, 50),
        ("images/train/a.png", "dog", 50, 0, 100, 50),
        ("images/valid/b.png", "dog", 10, 10, 50, 40),
    ]
    assert found.frame["split"].to_list() == ["train", "train", "val"]
    said = [str(problem) for problem in problems]
    for row, reason in enumerate(
        ("has no name", "must be a whole number", "must be fractions", "must be x_center", "above 0")
    ):
        assert any(f"row {row}: " in one and reason in one and "labels/test/c.txt" in one for one in said), (
            reason
        )
    assert "images/test/d.png: no row of the table refers to it" in said


def test_yolo_without_names_and_with_key_points(tmp_path, caplog):
    write_yolo(tmp_path, {"a": "3 0.5 0.5 0.2 0.2 0.1 0.1 0.9 0.9\n"}, "kpt_shape: [2, 2]\n")
    found, _ = yolo.table(tmp_path)
    assert rows(found) == [("images/a.png", "3", 40, 20, 60, 30)]
    assert "labels are the numbers of the classes" in caplog.text
    with pytest.raises(DataError, match="no text file"):
        (tmp_path / "labels" / "a.txt").unlink()
        yolo.table(tmp_path)


def write_voc(folder, name, objects, **more):
    picture(folder / "JPEGImages" / f"{name}.png")
    text = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(
            f"<{key}>{value}</{key}>"
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for label, box in objects
    )
    file = folder / "Annotations" / f"{name}.xml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"<annotation><filename>{more.get('said', name + '.png')}</filename>{text}</annotation>")


def test_voc(tmp_path):
    write_voc(tmp_path, "a", [("cat", (1, 1, 50, 50)), ("dog", (51, 1, 100, 50))])
    write_voc(
        tmp_path,
        "b",
        [("cat", (0, 0, 100, 50)), ("", (1, 1, 2, 2)), ("cat", ("x", 1, 2, 2))],
        said="C:\\x\\b.png",
    )
    write_voc(tmp_path, "c", [("cat", (1, 1, 5, 5))], said="gone.png")
    (tmp_path / "Annotations" / "broken.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "other.xml").write_text("<svg/>")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nc\n")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("b 1\n")
    found, problems = voc.table(tmp_path)
    assert rows(found) == [
        ("JPEGImages/a.png", "cat", 0, 0, 50, 50),
        ("JPEGImages/a.png", "dog", 50, 0, 100, 50),
        ("JPEGImages/b.png", "cat", 0, 0, 100, 50),
        ("JPEGImages/c.png", "cat", 0, 0, 5, 5),
    ]
    assert found.frame["split"].to_list() == ["train", "train", "test", "train"]
    said = [str(problem) for problem in problems]
    assert any("broken.xml: not readable XML" in one for one in said)
    assert any("other.xml: not readable XML: it begins with <svg>" in one for one in said)
    assert any("row 1: label is empty (Annotations/b.xml)" in one for one in said)
    assert any("row 2: bndbox 'x 1 2 2': must be four numbers (Annotations/b.xml)" in one for one in said)


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_xml_that_declares_entities_is_not_read(tmp_path, text):
    write_voc(tmp_path, "a", [("cat", (1, 1, 9, 9))])
    (tmp_path / "Annotations" / "bad.xml").write_text(text)
    found, problems = voc.table(tmp_path)
    assert len(found) == 1
    assert "declares a document type or entities" in str(problems[0])


dirty = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "image_id", "bbox"]), inner)
    ),
    max_leaves=6,
)


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "image_id": st.sampled_from([0, 1, 9, "0"]) | dirty,
                "bbox": dirty,
                "category_id": st.just(7) | dirty,
            }
        ),
        max_size=4,
    ),
    st.sampled_from([None, "bbox", "image_id", "x"]),
)
def test_dirty_coco_is_read_or_refused(coco_file, annotations, label):
    try:
        found, problems = coco.table(coco_file(annotations), label=label)
    except DataError:
        return
    lost = {problem.row for problem in problems if problem.row is not None}
    assert len(found) + len(lost) == len(annotations)


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text("01.5 -\nxné\t", max_size=60), st.text("<>/annotiobjecm&;é", max_size=40))
def test_dirty_texts_are_read_or_refused(tmp_path, text, xml):
    write_yolo(tmp_path, {"a": text}, "")
    write_voc(tmp_path, "a", [("cat", (1, 1, 9, 9))])
    (tmp_path / "Annotations" / "b.xml").write_text(xml)
    for read in (yolo.table, voc.table):
        with contextlib.suppress(DataError):
            assert isinstance(read(tmp_path)[0].frame, pl.DataFrame)
