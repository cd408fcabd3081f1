"""Malformed tables through the commands that read them: each is read, or refused in one message."""

import csv
import io
import json
import logging
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.box_columns import words

NAMES = words(
    "path Path file image Image Id label Label class split Split role group fold is_test train x1 y1 x2 y2 "
    "xmin bbox w same path_a path_b img1 img2 f0 f1 vector url 0 1"
)
HEADERS = st.sampled_from([*NAMES, "", " label", "Unnamed: 0", "a/0.png", "größe"])
CELLS = st.sampled_from(
    [
        *words("a/0.png ./a/1.png b/0.png gone.png a b 007 1.0 1,5 0 1 -1 1e999 nan None train Test query"),
        *("10 20 30 40", "[0.1, 0.2]", "ä\nö", "", " ", "true", 'say "x"', "C:\\a\\0.png", "http://x/1.png"),
        *("a/0", "\0", "=1+1", "9" * 30, "../a/0.png"),
    ]
)
GOOD = {
    "path": [f"{name}/{n}.png" for name in "ab" for n in range(3)],
    "label": list("aaabbb"),
    "split": ["train", "test", "test"] * 2,
    "same": list("110100"),
    "path_a": [f"a/{n % 3}.png" for n in range(6)],
    "path_b": [f"b/{n % 3}.png" for n in range(6)],
    "f0": [0.1, 0.2, 0.3, -0.4, 0.5, 0.6],
    "f1": [0.3, -0.2, 0.3, 0.4, -0.5, 0.1],
}
"""Columns that would be right, so that examples get past the first check."""
PROPERTY = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with six images, a dataset of them, and their vectors."""
    path = tmp_path_factory.mktemp("dirty")
    for row, name in enumerate(GOOD["path"]):
        (path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (40 * row, 10, 200)).save(path / name)
    np.save(path / "vectors.npy", np.array([GOOD["f0"], GOOD["f1"]], np.float32).T)
    (path / "labels.csv").write_text(
        "\n".join(["path,label", *map(",".join, zip(*map(GOOD.get, ("path", "label")), strict=True))])
    )
    (path / "good.csv").write_text(
        "\n".join(
            ["path,label,split", *map(",".join, zip(*map(GOOD.get, ("path", "label", "split")), strict=True))]
        )
    )
    return path


@st.composite
def tables(draw, likely):
    """The bytes of a table; `likely` are columns that are right half of the time."""
    columns = {name: GOOD[name] for name in likely if draw(st.booleans())}
    for name in draw(st.lists(HEADERS, max_size=4, unique=True)):
        columns[name] = draw(st.lists(CELLS, min_size=6, max_size=6))
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    rows += [[draw(CELLS)] * draw(st.integers(0, 6))] * draw(st.integers(0, 1))
    rows = rows[draw(st.sampled_from([0, 0, 0, 1])) :]
    out = io.StringIO()
    csv.writer(out, delimiter=draw(st.sampled_from(",;\t"))).writerows(rows)
    start = draw(st.sampled_from(["", "", "", "sep=;\n", "\n", "\x00"]))
    return (start + out.getvalue()).encode(
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])), "replace"
    )


@st.composite
def patches(draw):
    """The bytes of a patch: lines of JSON, more or less."""
    keys = st.sampled_from(["path", "label", "from", "to", "row", "action", "split", "old", "new", "images"])
    values = st.one_of(CELLS, st.integers(-1, 9), st.none(), st.lists(CELLS, max_size=2), st.booleans())
    lines = draw(st.lists(st.dictionaries(keys, values, max_size=4), max_size=3))
    text = "\n".join(map(json.dumps, lines)) + draw(
        st.sampled_from(["", "\n", "\n{", "\nnull", "\n[1]", "\nNaN"])
    )
    return text.encode()


def run(folder, capsys, file, content, *arguments):
    """Run a command on a file with this content, and check how it ends."""
    (folder / file).write_bytes(content)
    code = main([*arguments, f"out={folder / 'out'}"])
    out = folder / "out"
    was_written = out.exists()
    shutil.rmtree(out, ignore_errors=True)
    printed = "".join(capsys.readouterr())
    assert code in (0, 1, 2), printed
    assert "Traceback" not in printed and "unexpected error" not in printed, (content, printed)
    assert was_written == (code == 0), (content, printed)
    assert code == 0 or printed.strip()


@PROPERTY
@given(data=st.data(), name=st.sampled_from(["t.csv", "t.tsv"]))
def test_prepare_reads_or_refuses(folder, capsys, data, name):
    content = data.draw(tables(("path", "label", "split")))
    run(
        *(folder, capsys, name, content, "prepare", "source=table", f"source.file={folder / name}"),
        *("workers=0", "progress=false", "max_skipped=1"),
    )


@PROPERTY
@given(data=st.data())
def test_evaluate_reads_vectors_or_refuses(folder, capsys, data):
    content = data.draw(tables(("path", "label", "f0", "f1")))
    run(
        *(folder, capsys, "v.csv", content, "evaluate", f"embeddings={folder / 'v.csv'}"),
        *("progress=false", "intervals=false"),
    )


@PROPERTY
@given(data=st.data(), name=st.sampled_from(["p.csv", "p.txt"]))
def test_evaluate_reads_pairs_or_refuses(folder, capsys, data, name):
    content = data.draw(tables(("path_a", "path_b", "same")))
    run(
        *(folder, capsys, name, content, "evaluate", f"embeddings={folder / 'vectors.npy'}"),
        *(f"labels={folder / 'labels.csv'}", "protocol=pairs", f"protocol.file={folder / name}"),
        *("progress=false", "intervals=false"),
    )


@PROPERTY
@given(data=st.data())
def test_prepare_reads_patches_or_refuses(folder, capsys, data):
    run(
        *(folder, capsys, "patch.jsonl", data.draw(patches()), "prepare"),
        *(f"dataset={folder / 'good.csv'}", f"patch={folder / 'patch.jsonl'}"),
    )


def test_a_command_leaves_the_logger_as_it_was(folder, tmp_path, caplog):
    """A level or handler that stays would change what later code in the same process logs."""
    log = logging.getLogger("lookalike")
    before = (log.level, list(log.handlers))
    arguments = ["prepare", "source=table", f"source.file={folder / 'good.csv'}", "workers=0"]
    assert main([*arguments, "progress=false", f"out={tmp_path / 'a'}"]) == 0
    assert main([*arguments, f"out={tmp_path / 'a'}"]) == 1
    assert (log.level, log.handlers) == before


def test_pair_lists_name_the_originals_of_crops(folder, tmp_path, capsys):
    """Crops have paths of their own; the list names the photos that they were cut from."""
    boxes = [
        f"{path},{label},{split},2,2,30,25"
        for path, label, split in zip(GOOD["path"], GOOD["label"], GOOD["split"], strict=True)
    ]
    (folder / "boxes.csv").write_text("path,label,split,x1,y1,x2,y2\n" + "\n".join(boxes))
    shared = ["workers=0", "progress=false"]
    out = tmp_path / "crops"
    assert (
        main(
            [
                "prepare",
                "source=table",
                f"source.file={folder / 'boxes.csv'}",
                "detect=box",
                f"out={out}",
                *shared,
            ]
        )
        == 0
    )
    rows = [
        "path,path,same",
        *(f"{a},{b},{s}" for a, b, s in zip(GOOD["path_a"], GOOD["path_b"], GOOD["same"], strict=True)),
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    arguments = [f"dataset={out}", f"labels={out / 'table.parquet'}", f"embeddings={folder / 'vectors.npy'}"]
    pairs = ["protocol=pairs", f"protocol.file={tmp_path / 'pairs.csv'}", "intervals=false", "progress=false"]
    assert main(["evaluate", *arguments[1:], *pairs, f"out={tmp_path / 'eval'}"]) == 0, (
        capsys.readouterr().err
    )
