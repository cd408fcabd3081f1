"""That printed tables never break what is in them, in any terminal, file or pipe."""

import pytest

from lookalike import console
from lookalike.console import print_table, print_tables

COLUMNS = ("rank", "label", "path")
ROWS = [
    (1, "[bold]a label[/bold] :cat:", "/a path/" + "folder name/" * 30 + "image.png"),
    (2, "猫" * 40, "images/b.png"),
    (3, "tab\there", "line\nbreak \x1b[31mred"),
]


@pytest.fixture(params=[20, 79, 132, 2000])
def terminal(request, monkeypatch):
    monkeypatch.setattr(console, "in_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return request.param


def test_a_pipe_gets_one_line_a_row_with_tabs_between_whole_values(capsys):
    print_table(COLUMNS, ROWS, "not for scripts")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "rank\tlabel\tpath"
    assert [line.split("\t") for line in lines] == [
        ["1", *ROWS[0][1:]],
        ["2", *ROWS[1][1:]],
        ["3", "tab\\there", "line\\nbreak \\x1b[31mred"],
    ]


def test_several_tables_become_one_in_a_pipe(capsys):
    print_tables("image", COLUMNS, {"a.jpg": ROWS[:2], "b.jpg": [], "c.jpg": ROWS[1:2]})
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["image", "a.jpg", "a.jpg", "c.jpg"]
    assert {len(line) for line in lines} == {4}


def test_no_terminal_is_too_narrow_for_a_whole_path(terminal, capsys):
    print_tables("image", COLUMNS, {"a long/" * 20 + "photo.jpg": ROWS})
    said = capsys.readouterr().out
    for value in ("a long/" * 20 + "photo.jpg", *ROWS[0][1:], *ROWS[1][1:]):
        assert value in said, f"broken at {terminal} columns"
    assert "\x1b[31mred" not in said and "…" not in said


def test_a_table_with_room_is_drawn_and_one_without_is_not(terminal, capsys):
    print_table(COLUMNS, ROWS[1:2])
    said = capsys.readouterr().out
    assert ("│" in said) == (terminal > 110)
    assert "images/b.png" in said


def test_no_rows_are_no_error(capsys):
    print_table(COLUMNS, [])
    print_tables("image", COLUMNS, {})
    assert capsys.readouterr().out.splitlines() == ["rank\tlabel\tpath", "image\trank\tlabel\tpath"]
