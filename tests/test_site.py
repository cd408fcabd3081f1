"""The docs site builds without a warning and without a network, and a broken link fails the build."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README", "docs/losses", "docs/architecture", "docs/api/lookalike", "docs/api/losses", "CHANGELOG")


def build(source, out):
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    return subprocess.run(
        [*command, "-c", source / "docs" / "site", source, out], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_site_builds_offline_with_every_page(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    for name in PAGES:
        assert (tmp_path / f"{name}.html").exists(), name
    page = (tmp_path / "docs" / "api" / "losses.html").read_text(encoding="utf-8")
    assert 'id="lookalike.losses.Triplet"' in page
    assert "README.html" in (tmp_path / "index.html").read_text(encoding="utf-8")
    loaded = [
        f"{file.name}: {tag}"
        for file in tmp_path.rglob("*.html")
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", file.read_text(encoding="utf-8"))
        if re.search(r"(?:src|href)=\"(?:https?:)?//", tag) and 'rel="canonical"' not in tag
    ]
    assert loaded == [], "the site loads something from the network"


@pytest.mark.slow
def test_broken_links_fail_the_build(tmp_path):
    source = tmp_path / "source"
    (source / "docs" / "site").mkdir(parents=True)
    text = (ROOT / "docs" / "site" / "conf.py").read_text(encoding="utf-8")
    alone = "\nNAVIGATION = {'Pages': ['docs/page']}\n"
    (source / "docs" / "site" / "conf.py").write_text(text + alone, encoding="utf-8")
    (source / "README.md").write_text("# Title\n\n[a page](docs/page.md)\n", encoding="utf-8")
    page = source / "docs" / "page.md"
    page.write_text("# Page\n\n[home](../README.md)\n", encoding="utf-8")
    assert build(source, tmp_path / "out").returncode == 0
    broken = ("missing.md", "page.md#no-such-heading")
    links = "\n".join(f"[broken]({target})" for target in broken)
    page.write_text(f"# Page\n\n{links}\n", encoding="utf-8")
    shutil.rmtree(tmp_path / "out")
    done = build(source, tmp_path / "out")
    assert done.returncode != 0
    assert "missing.md" in done.stderr and "no-such-heading" in done.stderr
