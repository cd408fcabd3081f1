"""Columns of tables under any name: each is used, replaced, kept or refused, and said once; never guessed
in silence."""

import csv
import io
import logging
import re

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.data.box_columns import words
from lookalike.data.columns import find_columns
from lookalike.data.import_vectors import import_vectors
from lookalike.data.pairs import read_pairs
from lookalike.data.reading import read_frame
from lookalike.data.table import read_table
from lookalike.errors import DataError
from lookalike.prepare.table import table

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]
SIZE = (100, 80)
BOX = (10, 20, 50, 60)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with 0.png … 9.png of 100 × 80 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for name in range(10):
        Image.new("RGB", SIZE).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def write(photos):
    def make(header, rows, separator=",", encoding="utf-8", name="t.csv"):
        out = io.StringIO()
        writer = csv.writer(out, delimiter=separator)
        writer.writerows([header, *rows])
        file = photos / name
        file.write_bytes(out.getvalue().encode(encoding))
        return file

    return make


ROWS = [(f"{n}.png", f"k{n % 3}", ("train", "test")[n % 2]) for n in range(10)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header",
    [
        ("Path", "Label", "Split"),
        ("FILENAME", "class", "Subset"),
        ("image_path", "identity", "partition"),
        ("img", "person id", "SET"),
        ("file", "Category", "phase"),
    ],
)
def test_usual_names_are_found_and_said(write, caplog, header, separator, encoding):
    with caplog.at_level(logging.INFO):
        found, problems = table(write(header, ROWS, separator, encoding))
    assert found.frame.select("path", "label", "split").rows() == ROWS and not problems
    said = next(one.getMessage() for one in caplog.records if "columns used" in one.getMessage())
    for name in header:
        assert " ".join(name.split()) in said


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 2), (2, 0, 1)])
def test_without_a_header_contents_decide(write, caplog, order, separator):
    rows = [tuple(row[one] for one in order) for row in ROWS]
    file = write(rows[0], rows[1:], separator)
    with caplog.at_level(logging.INFO):
        found, problems = table(file)
    wanted = ["path", "label", "split"][: len(order)]
    assert found.frame.select(wanted).rows() == [row[: len(order)] for row in ROWS] and not problems
    assert "no header" in caplog.text and "path from column" in caplog.text
    with pytest.raises(DataError, match="lookalike prepare source=table"):
        read_table(file)


def test_labels_without_a_header_keep_their_zeros(write):
    found, _ = table(write(("0.png", "007"), [("1.png", "008")]))
    assert found.frame["label"].to_list() == ["007", "008"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("{n}.png", *BOX, "k{n}"), "{path: 'column 1', label: 'column 6', box: ['column 2', "),
        (("{n}.png", "k{n}", "x{n}"), "{path: 'column 1', label: 'column 2'}"),
        (("{n}.png", "{n}.png", "k{n}"), "{path: 'column 1', label: 'column 3'}"),
        (("{n}.png", "k{n}", *BOX), "label: 'column 2', box: ['column 3', "),
    ],
)
def test_several_meanings_without_a_header_are_refused_with_the_key(write, row, said):
    rows = [[str(cell).format(n=n) for cell in row] for n in range(4)]
    file = write(rows[0], rows[1:])
    with pytest.raises(DataError, match=re.escape(said)) as error:
        table(file)
    key = str(error.value).rpartition('"source.columns=')[2].rstrip('"')
    found, problems = table(file, columns=yaml.safe_load(key), box="xyxy" if "box" in key else None)
    assert len(found) == 4 and not problems


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (("Image", "Id"), "source.columns={label: Id}"),
        (("image", "breed"), "source.columns={label: breed}"),
        (("image", "Whale Name"), "source.columns={label: 'Whale Name'}"),
        (("where", "label"), "source.columns={path: where}"),
        (("where", "who"), "source.columns={path: where}', 'source.columns={label: who}"),
    ],
)
def test_columns_of_unusual_names_are_proposed_by_their_contents(write, header, said):
    with pytest.raises(DataError, match=re.escape(said)):
        table(write(header, [(f"{n}.png", f"k{n % 2}") for n in range(4)]))


@pytest.mark.parametrize(
    "splits", [("Training", "Validation"), ("dev", "TEST"), ("trn", "tst"), ("train ", "valid")]
)
def test_words_for_splits(write, splits):
    found, _ = table(write(("path", "label", "split"), [(f"{n}.png", "a", splits[n % 2]) for n in range(4)]))
    assert set(found.frame["split"]) <= {"train", "val", "test"} and found.frame["split"].n_unique() == 2


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("is_test", ("0", "1"), ("train", "test")),
        ("IsTest", ("False", "True"), ("train", "test")),
        ("is_train", ("1.0", "0.0"), ("train", "test")),
        ("is_valid", ("0", "1"), ("train", "val")),
        ("is_training_image", ("1", "0"), ("train", "test")),
        ("in_test_set", ("0", "1"), ("train", "test")),
        ("train", ("1", "0"), ("train", "test")),
    ],
)
def test_flags_are_splits(write, name, values, wanted):
    rows = [(f"{n}.png", "a", values[n % 2]) for n in range(4)]
    found, _ = table(write(("path", "label", name), rows))
    assert found.frame["split"].to_list() == [wanted[n % 2] for n in range(4)]


def test_a_column_of_flags_for_each_split(write):
    flags = [(1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 0, 0), (0, 1, 1)]
    rows = [(f"{n}.png", "a", *row) for n, row in enumerate(flags)]
    found, problems = table(write(("path", "label", "Train", "val", "is_test"), rows))
    assert found.frame["split"].to_list() == ["train", "val", "test"]
    assert ["no split" in problems[0].reason, "val and in test" in problems[1].reason] == [True, True]
    with pytest.raises(DataError, match=r"same split(.|\n)*split: null"):
        table(write(("path", "label", "test", "is_test"), [(*row[:3], row[3]) for row in rows]))


def test_columns_query_and_gallery_are_refused(write):
    rows = [(f"{n}.png", "a", n % 2, 1 - n % 2) for n in range(4)]
    file = write(("path", "label", "query", "gallery"), rows)
    with pytest.raises(DataError, match=r"columns=\{role: null\}"):
        table(file)
    assert len(table(file, columns={"role": None})[0]) == 4


def test_a_column_of_cameras_is_not_the_group_unasked_but_said(write, caplog):
    rows = [(f"{n}.png", "a", n % 2) for n in range(4)]
    with caplog.at_level(logging.INFO, "lookalike"):
        found, _ = table(write(("path", "label", "camera_id"), rows))
    assert "source.columns={group: camera_id}" in caplog.text and "group" not in found.frame.columns


def test_paths_without_an_ending(tmp_path, caplog):
    for name in ("a.png", "b.JPG", "c.png", "c.jpg", "d"):
        (tmp_path / name).touch()
    rows = "\n".join(f"{name},k" for name in ("a", "b", "c", "d", "e"))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}\n")
    with caplog.at_level(logging.INFO, "lookalike"):
        found, problems = table(tmp_path / "t.csv")
    assert found.frame["path"].to_list() == ["a.png", "b.JPG", "d"] and len(problems) == 2
    assert "the extension is missing in 2 paths" in caplog.text


def test_a_table_of_addresses_gets_its_command(write):
    file = write(("image_url", "label"), [(f"https://x.org/{n}.png", "a") for n in range(3)])
    with pytest.raises(DataError, match=r"source=urls source\.list=.*url: image_url"):
        table(file)


def test_query_and_gallery_as_splits_are_roles(write):
    splits = ["train", "Query", "gallery", "probe"]
    found, _ = table(write(("path", "label", "split"), [(f"{n}.png", "a", splits[n]) for n in range(4)]))
    assert found.frame["split"].to_list() == ["train", "test", "test", "test"]
    assert found.frame["role"].to_list() == [None, "query", "gallery", "query"]
    with pytest.raises(DataError, match=r"source\.columns=\{role: null\}"):
        table(
            write(
                ("path", "label", "split", "role"), [(f"{n}.png", "a", splits[n], "both") for n in range(4)]
            )
        )


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (("path", "label", "split", "Split"), ("train", "test"), "columns={split: Split}"),
        (("path", "label", "SPLIT", "Split"), ("train", "test"), "columns={split: SPLIT}"),
        (("path", "label", "role", "Role"), ("query", "gallery"), "columns={role: Role}"),
        (("path", "label", "mine"), ("train",), "columns={split: mine}"),
        (("path", "label", "subset", "partition"), ("train", "test"), "columns={split: subset}"),
        (("path", "label", "partition"), ("1",), "columns={split: null}"),
        (("path", "class", "identity"), ("b",), "columns={label: identity}"),
        (("image", "img", "label"), ("b",), "columns={path: img}"),
        (("path", "label", "xmin", "ymin"), ("1", "2"), "columns={box: null}"),
        (("path", "label", "bbox", "xmin"), ("1 2 3 4", "2"), "columns={box: bbox}"),
        (("path", "label", "spot"), ("[1, 2, 3, 4]",), "columns={box: spot}"),
        (("path", "label", "bbox", "Box"), ("1 2 3 4", "2 3 4 5"), "columns={box: Box}"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_key(write, header, row, said):
    given = len(header) - len(row)
    rows = [(*("0.png", "a", "c")[:given], *row), (*("1.png", "b", "d")[:given], *row)]
    if header[-1] in ("partition", "mine", "subset"):
        other = {"1": "0", "train": "test", "test": "train"}
        rows[1] = (*rows[1][:given], *(other[one] for one in row))
    file = write(header, rows)
    with pytest.raises(DataError) as caught:
        table(file)
    assert said in str(caught.value)
    with pytest.raises(DataError):
        read_table(file)


def test_what_the_keys_say_is_obeyed(write):
    file = write(
        ("path", "label", "split", "Split"), [("0.png", "a", "train", "test"), ("1.png", "b", "test", "val")]
    )
    assert table(file, columns={"split": "Split"})[0].frame["split"].to_list() == ["test", "val"]
    assert table(file, split="split")[0].frame["split"].to_list() == ["train", "test"]
    assert "split" not in table(file, columns={"split": None})[0].frame.columns
    with pytest.raises(ValueError, match="give one of the two"):
        table(file, split="split", columns={"split": "Split"})
    with pytest.raises(ValueError, match="must be one of path, label"):
        table(file, columns={"slit": "Split"})
    with pytest.raises(DataError, match=r"no column 'Spl'.*columns=\{role"):
        table(file, columns={"role": "Spl"})


"""As corners; width and height are 40."""
NAMES = {
    "xyxy": [
        *("x1 y1 x2 y2", "xmin ymin xmax ymax", "XMin YMin XMax YMax", "x_min y_min x_max y_max"),
        *("left top right bottom", "bbox_x1 bbox_y1 bbox_x2 bbox_y2", "xtl ytl xbr ybr", "x0 y0 x1 y1"),
    ],
    "xywh": ["left top width height", "bbox_left bbox_top bbox_width bbox_height", "x1 y1 w h"],
    "cxcywh": ["x_center y_center width height", "cx cy w h", "xcenter ycenter w h"],
}


def numbers(kind, box=BOX, size=(1, 1)):
    x1, y1, x2, y2 = box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]
    if kind == "xyxy":
        return x1, y1, x2, y2
    corner = ((x1 + x2) / 2, (y1 + y2) / 2) if kind == "cxcywh" else (x1, y1)
    return (*corner, x2 - x1, y2 - y1)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("kind", "names"), [(kind, names) for kind, them in NAMES.items() for names in them])
def test_boxes_by_the_names_of_their_columns(write, kind, names, relative):
    row = numbers(kind, BOX, SIZE if relative else (1, 1))
    found, problems = table(
        write(("path", "label", *names.split()), [("0.png", "a", *row), ("1.png", "b", *row)])
    )
    assert [found.box(0), found.box(1)] == [BOX, BOX] and not problems


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("form", ["{} {} {} {}", "[{}, {}, {}, {}]", "({};{};{};{})"])
@pytest.mark.parametrize("kind", list(NAMES))
def test_boxes_in_one_column_need_the_key_where_several_kinds_are_possible(write, kind, form, relative):
    size = SIZE if relative else (1, 1)
    file = write(
        ("path", "label", "bbox"),
        [(f"{n}.png", "a", form.format(*numbers(kind, BOX, size))) for n in range(3)],
    )
    found, _ = table(file, box=kind, relative=relative)
    assert found.box(2) == BOX
    try:
        assert table(file)[0].box(2) == BOX
    except DataError as error:
        assert f"source.box={kind}" in str(error)


def test_boxes_as_the_images_show(write):
    """x y w h that go beyond the image as corners and centres."""
    rows = [(f"{n}.png", "a", f"{20 * n} 0 {100 - 20 * n} 80") for n in range(5)]
    found, _ = table(write(("path", "label", "bbox"), rows))
    assert [found.box(n) for n in range(5)] == [(20 * n, 0, 100, 80) for n in range(5)]


def test_boxes_as_objects_in_json(write):
    rows = [(f"{n}.png", "a", '{"left": 10, "top": 20, "width": 40, "height": 40}') for n in range(2)]
    assert table(write(("path", "label", "bounding_box"), rows))[0].box(0) == BOX


def test_fractions_among_pixels(write):
    names = ("path", "label", "xmin", "ymin", "xmax", "ymax")
    rows = [(f"{n}.png", "a", *BOX) for n in range(5)] + [("5.png", "a", 0.1, 0.2, 0.5, 0.6)]
    found, problems = table(write(names, rows))
    assert len(found) == 5 and "source.relative=true" in problems[0].reason
    mixed = [("9.png", "a", *BOX)] + [(f"{n}.png", "a", 0.1, 0.2, 0.5, 0.6) for n in range(5)]
    with pytest.raises(DataError, match=r"5 of 6 boxes.*source\.relative=true"):
        table(write(names, mixed))


@pytest.mark.parametrize("side", [64, 200, 1600])
@pytest.mark.parametrize("scale", [100, 1000])
@pytest.mark.parametrize("kind", ["xyxy", "xywh", "cxcywh"])
def test_percent_and_thousandths_need_the_key(tmp_path, side, scale, kind):
    for n in range(4):
        Image.new("L", (side, 2 * side)).save(tmp_path / f"{n}.png")
    corners = [(10 + n, 20, 90 + n, 99 - n) for n in range(4)]
    boxes = [tuple(number * scale / 100 for number in numbers(kind, box)) for box in corners]
    file = tmp_path / "t.csv"
    lines = [f"{n}.png,k{n % 2},{','.join(map(str, box))}" for n, box in enumerate(boxes)]
    file.write_text("path,label,a,b,c,d\n" + "\n".join(lines))
    columns = {"box": list("abcd")}
    with pytest.raises(DataError, match=rf"source\.relative={scale}(.|\n)*source\.relative=false"):
        table(file, columns=columns, box=kind)
    found, problems = table(file, columns=columns, box=kind, relative=scale)
    x1, y1, x2, y2 = corners[1]
    wanted = [x1 * side / 100, y1 * side / 50, x2 * side / 100, y2 * side / 50]
    assert found.frame.select("x1", "y1", "x2", "y2").row(1) == pytest.approx(wanted, abs=0.01)
    assert not problems


def test_direct_tables_with_boxes_in_percent_are_refused(tmp_path):
    for n in range(4):
        Image.new("RGB", (300, 200)).save(tmp_path / f"{n}.png")
    rows = [f"{n}.png,k{n % 2},train,10,10,{60 + n},95" for n in range(4)]
    (tmp_path / "t.csv").write_text("path,label,split,x1,y1,x2,y2\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"percent(.|\n)*lookalike prepare source=table"):
        read_table(tmp_path / "t.csv")


def test_a_few_boxes_that_stick_out_are_pixels(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    rows = [f"a.png,k{n % 2},{n},10,{320 if n == 3 else 290},190" for n in range(12)]
    (tmp_path / "t.csv").write_text("path,label,x1,y1,x2,y2\n" + "\n".join(rows))
    found, problems = table(tmp_path / "t.csv")
    assert len(found) == 12 and not problems


def test_tables_read_directly_take_our_names_alone(write):
    file = write(
        ("path", "label", "split", "x1", "y1", "x2", "y2"), [("0.png", "a", "train", 0.1, 0.1, 0.5, 0.5)]
    )
    with pytest.raises(DataError, match=r"fractions(.|\n)*prepare source=table source\.file="):
        read_table(file)
    file = write(("path", "label", "split", "xmin", "ymin", "xmax", "ymax"), [("0.png", "a", "train", *BOX)])
    with pytest.raises(DataError, match="look like boxes"):
        read_table(file)


def test_empty_and_numbered_columns_are_ignored_and_said(write, caplog):
    with caplog.at_level(logging.INFO):
        frame = read_frame(write(("", "path", "label", ""), [(n, f"{n}.png", "007", "") for n in range(3)]))
    assert frame.columns == ["path", "label"] and frame["label"].to_list() == ["007"] * 3
    assert "column 1" in caplog.text and "column 4" in caplog.text
    frame = read_frame(write(("", "path", "label"), [(n * 7, f"{n}.png", "a") for n in range(3)]))
    assert frame.columns == ["column 1", "path", "label"], "not the numbers of rows"


def test_decimal_commas(write):
    rows = [("0.png", "a", "1,5", "1,234", "2,0"), ("1.png", "b", "2", "5,678", "x")]
    frame = read_frame(write(("path", "label", "x", "many", "text"), rows, ";"))
    assert frame["x"].to_list() == [1.5, 2.0]
    assert frame.schema["many"] == pl.String and frame.schema["text"] == pl.String, "1,234 may be a thousand"


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_the_first_line_of_excel(photos, line):
    (photos / "t.csv").write_text(f"{line}\npath;label\n0.png;a\n1.png;b,c\n", encoding="utf-8")
    assert table(photos / "t.csv")[0].labels.tolist() == ["a", "b,c"]


def test_spaces_after_separators(photos):
    (photos / "t.csv").write_text('path, label, note\n0.png, "a, b", x\n1.png, c, y\n', encoding="utf-8")
    assert table(photos / "t.csv")[0].labels.tolist() == ["a, b", "c"]


def test_paths_as_addresses(photos, write):
    file = write(("path", "label"), [((photos / f"{n}.png").as_uri(), "a") for n in range(2)])
    assert len(table(file)[0]) == 2


def test_rows_with_several_slips_are_listed_once(write):
    _, problems = table(write(("path", "label", "split"), [("0.png", "a", "train"), ("gone.png", "", "x")]))
    assert len(problems) == 1
    for word in ("label is empty", "split 'x'", "there is no such file"):
        assert word in problems[0].reason


PAIRS = [(f"{n}.png", f"{n + 1}.png", n % 2) for n in range(8)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "header",
    [
        *("path_a path_b same", "img1 img2 same", "Image1 Image2 IsSame", "left right match"),
        *("file_a file_b label", "first second is_match", "id1 id2 target"),
        *("path path same", "path path.1 same", "Image Image_1 label", "name name_duplicated_0 same"),
    ],
)
def test_pair_lists_by_header(write, header, encoding, separator):
    pairs = read_pairs(write(header.split(), PAIRS, separator, encoding), 4)
    assert [(p.first, p.second, int(p.same)) for p in pairs] == PAIRS
    assert [p.fold for p in pairs] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("verdict", ["same", "different", "match", "positive", "negative"])
@pytest.mark.parametrize("images", ["path_a path_b", "img1 img2", "path path", "path path.1"])
def test_other_columns_leave_the_header_of_a_pair_list_a_header(write, images, verdict):
    """`same` and `different` in a headerless list are verdicts."""
    header = [*images.split(), verdict, "author", "note"]
    pairs = read_pairs(write(header, [(*pair, "Ann", "x") for pair in PAIRS]), 4)
    expected = [pair[2] == (verdict not in ("different", "negative")) for pair in PAIRS]
    assert [p.same for p in pairs] == expected


@pytest.mark.parametrize(
    "names", [["0", "1"], ["0.0", "1.0"], ["a", "b"], ["fold1", "fold2"], ["3", "7"], ["-1", "0"]]
)
@pytest.mark.parametrize("header", [["", "b", "same", "a", "fold_id"], None])
def test_folds_are_kept(write, names, header):
    folds = [names[n % 2] for n in range(8)]
    if header:
        rows = [(n, p[1], p[2], p[0], fold) for n, (p, fold) in enumerate(zip(PAIRS, folds, strict=True))]
    else:
        header, *rows = [(*p, fold) for p, fold in zip(PAIRS, folds, strict=True)]
    pairs = read_pairs(write(header, rows))
    assert [(p.first, int(p.same)) for p in pairs] == [(p[0], p[2]) for p in PAIRS]
    assert len({p.fold for p in pairs}) == 2 and pairs[0].fold == pairs[2].fold != pairs[1].fold


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("path_a path_b same fold", lambda n: (*PAIRS[n], "" if n == 5 else "1"), "has no fold"),
        ("alpha beta gamma", lambda n: PAIRS[n], "path_a, path_b, same"),
        ("path_a path_b", lambda n: PAIRS[n][:2], "path_a, path_b, same"),
        ("path_a path_b same different", lambda n: (*PAIRS[n], 1), "path_a, path_b, same"),
        ("path_a path_b same", lambda n: (*PAIRS[n][:2], "maybe"), "must be path,path,1"),
    ],
)
def test_pair_lists_that_are_not_clear(write, header, row, said):
    with pytest.raises(DataError, match=said):
        read_pairs(write(header.split(), [row(n) for n in range(8)]))


def test_a_column_different_is_read_the_other_way_round(write):
    pairs = read_pairs(write(("path_a", "path_b", "different"), PAIRS))
    assert [p.same for p in pairs] == [not p[2] for p in PAIRS]


@pytest.mark.parametrize(
    "line", ["{0} {1} {2}", "{2} {0} {1}", "{0}\t{1}\t{2}", "{0},{1},{2}", "{0};{1};{2}"]
)
def test_pair_lists_as_text(photos, line):
    (photos / "pairs.txt").write_text("\n".join(line.format(*pair) for pair in PAIRS))
    assert [(p.first, p.second, int(p.same)) for p in read_pairs(photos / "pairs.txt")] == PAIRS


def test_pair_lists_as_parquet(photos):
    frame = pl.DataFrame(PAIRS, schema=["path_a", "path_b", "same"], orient="row")
    frame.with_columns(pl.col("same") == 1).write_parquet(photos / "p.parquet")
    assert [(p.first, p.second, int(p.same)) for p in read_pairs(photos / "p.parquet")] == PAIRS


VECTORS = np.random.default_rng(0).normal(size=(6, 4)).round(3)


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
def test_vectors_without_a_header(photos, separator, decimal):
    if separator == decimal == ",":
        return
    lines = (separator.join(str(value).replace(".", decimal) for value in row) for row in VECTORS)
    (photos / "v.csv").write_text("\n".join(lines))
    assert import_vectors(photos / "v.csv", labelled=False)[0] == pytest.approx(VECTORS, rel=1e-6)


@pytest.mark.parametrize("name", ["f{}", "dim_{}", "{}", "x{}", "V{}", "Feature {}", "emb.{}", "pc[{}]"])
@pytest.mark.parametrize("start", [0, 1])
def test_numbers_that_describe_a_row_are_no_dimensions(write, caplog, name, start):
    header = ["label", "age", *(name.format(n + start) for n in range(4)), "score", "camera"]
    if len({*header, "x1", "x2"}) < len(header) + 2:
        return  # x1 and x2 are corners of boxes
    rows = [("007", 3 * n, *VECTORS[n], 0.5 * n, n % 2) for n in range(6)]
    with caplog.at_level(logging.INFO):
        vectors, about = import_vectors(write(header, rows))
    assert vectors == pytest.approx(VECTORS, rel=1e-6)
    assert {"age", "score", "camera"} <= set(about.columns) and about["label"].to_list() == ["007"] * 6
    assert "not part of the vectors" in caplog.text and "camera" in caplog.text


@pytest.mark.parametrize(
    "header", [["label", "a", "b"], ["label", "f0", "f2"], ["label", "a1", "a2", "b1", "b2"]]
)
def test_dimensions_that_are_not_clear(write, header):
    with pytest.raises(DataError, match="Name the dimensions f0, f1"):
        import_vectors(write(header, [("a", *range(1, len(header)))] * 3))


def test_labels_in_a_column_of_vectors_without_header(photos):
    np.savetxt(photos / "v.csv", np.column_stack([np.arange(6) // 2, VECTORS]), delimiter=",")
    with pytest.raises(DataError, match="column 1 contains integers"):
        import_vectors(photos / "v.csv", labelled=False)


def test_vectors_as_pandas_writes_them(write):
    rows = [("a", str(row.tolist())) for row in VECTORS]
    assert import_vectors(write(("label", "embedding"), rows))[0] == pytest.approx(VECTORS, rel=1e-6)
    with pytest.raises(DataError, match="it was abbreviated"):
        import_vectors(write(("label", "embedding"), [("a", "[0.1 0.2 ... 0.3]")] * 2))
    header = ["label", *map(str, range(4))]
    assert import_vectors(write(header, [("a", *row) for row in VECTORS]))[0].shape == (6, 4)
    assert import_vectors(write(header[1:], VECTORS), labelled=False)[0].shape == (6, 4)


HEADERS = st.sampled_from(
    [
        *words("path Path file_name image label Label class identity split Split subset partition role Role"),
        *words(
            "group fold is_test x1 y1 x2 y2 xmin ymin xmax ymax bbox Box x y w h width height f0 f1 f2 0 1"
        ),
        *words("same img1 img2 note id vector größe"),
        *("", " label", "Unnamed: 0", "a b"),
    ]
)
CELLS = st.sampled_from(
    [
        *words(
            "0.png ./1.png 2.png gone.png a B 007 7 1.0 1,5 0 1 -1 255 1e999 nan NaN None train Test valid"
        ),
        *("query", "gallery", "0.25", "10 20 30 40", "[0.1, 0.2]", "[1, 2, 3, 4]", "ä\nö", "", " ", "true"),
        *('say "x"', "C:\\x\\3.png", "file:///x", "é;|\t"),
    ]
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_table_is_read_or_refused(photos, caplog, data):
    header = data.draw(st.lists(HEADERS, min_size=1, max_size=7))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=6))
    separator = data.draw(st.sampled_from([",", ";", "\t", "|"]))
    first = data.draw(st.sampled_from(["", "", "", f"sep={separator}\n"]))
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([header, *rows])
    file = photos / data.draw(st.sampled_from(["any.csv", "any.tsv"]))
    file.write_bytes((first + out.getvalue()).encode(data.draw(st.sampled_from(ENCODINGS))))
    readers = {
        "table": lambda: table(file),
        "direct": lambda: read_table(file),
        "pairs": lambda: read_pairs(file),
        "vectors": lambda: import_vectors(file, labelled=False),
        "labels": lambda: import_vectors(photos / "six.npy", file),
    }
    np.save(photos / "six.npy", VECTORS)
    for name, read in readers.items():
        caplog.clear()
        with caplog.at_level(logging.INFO):
            try:
                read()
            except DataError:
                continue
        if name in ("table", "direct"):
            said = caplog.text
            for column in filter(None, (" ".join(one.split()) for one in header)):
                assert column in said, (name, column, said)


def test_every_column_is_used_kept_or_part_of_the_box(write):
    header = ["Path", "class", "Subset", "role", "xmin", "ymin", "xmax", "ymax", "width", "note"]
    rows = [(f"{n}.png", "a", ("train", "test")[n % 2], "both", *BOX, 9, "x") for n in range(4)]
    file = write(header, rows)
    columns = find_columns(read_frame(file), file, {})
    every = [*columns.used.values(), *columns.flags, *columns.boxes.names, *columns.kept]
    assert sorted(every) == sorted(header)
    assert all(name in columns.report(["width"]) for name in header)
    assert "replaced: width" in columns.report(["width"])
