"""Archives, tables, forgetting, embedding spaces, parsers, memory, determinism, the network, licences."""

import json
import re
from pathlib import Path

from trust import __main__ as rows
from trust import archives, fuzzing, running, supply

ROOT = Path(__file__).parents[2]


def check(figure):
    assert figure.passes, figure.problems


def test_archives_write_nothing_outside(tmp_path):
    """See also tests/prepare/download/test_archives.py."""
    check(archives.measure_archives(tmp_path, 5_000))


def test_hostile_tables_and_patches_are_rejected(trust_folder):
    """See also tests/cli/test_dirty_tables.py."""
    check(archives.measure_tables(trust_folder, 50_000))


def test_nothing_of_a_forgotten_identity_is_in_any_file(tmp_path):
    check(running.measure_forgetting(tmp_path, 40))


def test_vectors_of_another_space_are_refused(trust_folder):
    check(running.measure_spaces(trust_folder, 1))


def test_parsers_take_any_bytes(tmp_path):
    check(fuzzing.measure_fuzzing(tmp_path, 3))


def test_memory_of_training_stays(trust_folder):
    check(running.measure_training_memory(trust_folder, 45))


def test_one_seed_gives_the_same_bits_with_workers_and_threads(trust_folder):
    check(running.measure_determinism(trust_folder, 1))


def test_jobs_reach_nothing(trust_folder):
    check(running.measure_network(trust_folder, 3, ["prepare", "embed", "index"]))


def test_no_package_has_a_licence_that_binds_users(tmp_path):
    figure = supply.measure_licences(tmp_path, 1)
    check(figure)
    assert int(re.match(r"\d+", figure.measured)[0]) > 40


def test_the_page_shows_the_figures_of_the_last_run():
    figures = json.loads(rows.FIGURES.read_text(encoding="utf-8"))
    page = rows.PAGE.read_text(encoding="utf-8")
    assert set(figures) <= set(rows.ROWS)
    assert all(figure["measured"] in page and figure["date"] in page for figure in figures.values())
    assert not any(figure["problems"] for figure in figures.values())
