"""The review page of groups in a real Chromium: decisions become a patch that is applied."""

import json

import numpy as np
import polars as pl
import pytest
from playwright import sync_api

import lookalike
from browser_checks import CONTRAST
from lookalike.cli.main import main
from lookalike.data.table import Table, read_table

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(shapes_folder, tmp_path_factory):
    """Groups a (3 photos, of two individuals) and b, b' (2 and 1 photos of one individual)."""
    files = [str(file) for file in sorted(shapes_folder.rglob("*.png"))[:6]]
    angle = np.deg2rad([0, 18, 9, 60, 62, 85])
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    table = Table(pl.DataFrame({"path": files, "label": "?", "split": "test"}))
    out = tmp_path_factory.mktemp("groups") / "out"
    lookalike.cluster(lookalike.Embeddings(vectors, table, "s"), threshold=0.92, out=out)
    return out


def test_groups_are_merged_and_rejected_in_the_browser(folder, chromium, tmp_path):
    trouble = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto((folder / "review.html").as_uri())
        page.wait_for_selector("#cards li")
        assert "Same individual" in page.text_content("#heading")
        assert "merge into new-2" in page.text_content("#accept")
        assert page.locator("#cards img").count() == 3
        page.keyboard.press("a")
        assert "Group" in page.text_content("#heading")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not page.evaluate(CONTRAST)
        page.keyboard.press("r")
        page.keyboard.press("a")
        page.fill("#author", "Ann")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "review.jsonl")
        browser.close()
    assert not trouble
    lines = [json.loads(line) for line in (tmp_path / "review.jsonl").read_text().splitlines()]
    assert sorted(line["do"] for line in lines[1:]) == ["different", "merge"]
    assert (
        main(["prepare", f"patch={tmp_path}/review.jsonl", f"dataset={folder}", f"out={tmp_path}/after"]) == 0
    )
    labels = read_table(tmp_path / "after").frame["label"].to_list()
    assert len(set(labels[3:])) == 1
    assert (tmp_path / "after" / "different.csv").is_file()
