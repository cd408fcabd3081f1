import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.errors import LookalikeError
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.report import template
from lookalike.report.page import Options, write_report
from lookalike.report.read import read_evaluation, read_run
from lookalike.report.template import LARGEST

FAST = Options(map_images=0)
NASTY = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a browser would make of the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.open = (
            self.open[: len(self.open) - 1 - self.open[::-1].index(tag)] if tag in self.open else self.open
        )

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words += " " + " ".join(data.split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path):
    def make(run=None, evaluation=None, options=FAST):
        run = read_run(run) if run else None
        evaluation = read_evaluation(evaluation) if evaluation else None
        text = write_report(run, evaluation, tmp_path / "out.html", options).read_text(encoding="utf-8")
        return Page(text), text

    return make


def classes(count, each=4):
    return [f"class {number:03}" for number in range(count) for _ in range(each)]


def test_a_whole_page(page, run_folder, evaluation):
    folder = evaluation(classes(8))
    parsed, text = page(run_folder, folder, Options(worst=3, best=2, map_images=100))
    metrics = json.loads((folder / "metrics.json").read_text())
    for words in (
        "shapes",
        "small_cnn trained with triplet + gor for 3 epochs on 5,331 images of 948 classes in 90 seconds.",
        "Evaluated on 32 images of 8 classes",
        f"{100 * metrics['recall@1']['value']:.1f} %",
        metrics["protocol"],
        "Hardest queries",
        "Best queries",
        "Same or different",
        "All 32 images of 8 classes",
        "0.5 × gor",
        "Seed",
    ):
        assert words in parsed.words, words
    assert len(parsed.all("svg")) == 4
    pairs = text.count('<div class="two">')
    assert 0 < pairs <= 3
    assert len([each for each in parsed.all("img") if each.get("src")]) == (3 + 2) * 6 + 2 * pairs + 1


def test_when_the_model_says_same_stands_on_the_page(page, run_folder):
    point = OperatingPoint(0.001, 0.001, 0.61, 0.52, 0.7, 0.456, 0.4, 0.5, 1e-5, 90, 9, "5pace")
    (run_folder / "model").mkdir()
    write_point(point, run_folder / "model")
    parsed, _ = page(run_folder)
    for words in (
        "at a similarity above 0.700",
        "below 0.520; in between: cannot tell",
        "0.610, for a false accept rate of 0.1 %",
        "45.6 % [40.0, 50.0] of pairs of the same identity",
        "90 images of 9 identities",
    ):
        assert words in parsed.words


def test_numbers_and_interval_are_those_of_the_file(page, evaluation):
    folder = evaluation(classes(6))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["recall@1"] = {"value": 0.123, "low": 0.111, "high": 0.135}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    parsed, _ = page(evaluation=folder)
    assert "12.3 %" in parsed.words and "11.1 – 13.5 %" in parsed.words


def test_neighbours_are_marked_right_or_wrong_in_words_and_signs(page, evaluation):
    folder = evaluation(classes(6), noise=0.6)
    parsed, _ = page(evaluation=folder, options=Options(worst=4, best=0, map_images=0))
    frame = pl.read_parquet(folder / "per_query.parquet")
    hits = [each for each in parsed.all("li") if each.get("class") in ("right", "wrong")]
    assert len(hits) == 20
    wrong = sum(each["class"] == "wrong" for each in hits)
    assert parsed.words.count("✗") == wrong + 1 and parsed.words.count("✓") == 20 - wrong + 1, "and the key"
    alts = [each["alt"] for each in parsed.all("img") if each["alt"].startswith("neighbour")]
    assert sum(", wrong:" in alt for alt in alts) == wrong
    assert frame["recall@1"].mean() < 1


def test_the_page_is_one_file_that_asks_for_nothing(page, run_folder, evaluation):
    parsed, text = page(run_folder, evaluation(classes(6)))
    rule = next(
        each["content"] for each in parsed.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in rule and "http" not in rule
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, name, value[:60])
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_every_picture_has_words(page, run_folder, evaluation):
    parsed, _ = page(run_folder, evaluation(classes(6)), Options(map_images=50))
    assert all(each.get("alt") for each in parsed.all("img") if each.get("src"))
    assert all(each.get("aria-label") and each.get("role") == "img" for each in parsed.all("svg"))


def test_figures_take_the_colours_of_the_light_or_dark_page(page, run_folder, evaluation):
    _, text = page(run_folder, evaluation(classes(6)), FAST)
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(figures) == 4 and not re.findall(r"(?:fill|stroke): #\w+", "".join(figures))


def test_ids_are_unique(page, run_folder, evaluation):
    parsed, _ = page(run_folder, evaluation(classes(6)))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {attributes.get("aria-labelledby") for _, attributes in parsed.tags} - {None}
    assert used <= set(ids)


@pytest.mark.parametrize(
    "nasty", [NASTY, '"><img src=x onerror=alert(1)>', "' onclick='x", "{{ 7 * 7 }}", "$x_$", "日本語 😀"]
)
def test_names_are_shown_and_never_run(page, run_folder, evaluation, nasty):
    config = (
        (run_folder / "config.yaml").read_text().replace("data/shapes", json.dumps(nasty, ensure_ascii=False))
    )
    (run_folder / "config.yaml").write_text(config)
    (run_folder / "skipped.csv").write_text("")
    pl.DataFrame({"row": [1], "path": [nasty], "reason": [nasty]}).write_csv(run_folder / "skipped.csv")
    labels = [nasty if label.endswith("0") else f"{nasty} {label}" for label in classes(5)]
    parsed, text = page(run_folder, evaluation(labels, dataset=nasty))
    assert nasty in parsed.words
    assert len(parsed.all("script")) == 1 and "alert(1)</script>" not in text
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert all(each["src"].startswith("data:") for each in parsed.all("img") if "src" in each)


def test_a_file_name_that_is_no_text(page, run_folder):
    (run_folder / "summary.json").write_text(json.dumps({"device": "lone \udcff"}))
    assert "lone ?" in page(run_folder)[0].words


@pytest.mark.parametrize(("count", "each"), [(2, 3), (2, 40), (300, 2)])
def test_few_and_many_classes(page, evaluation, count, each):
    parsed, _ = page(evaluation=evaluation(classes(count, each)), options=Options(map_images=60))
    assert f"of {count} classes" in parsed.words


def test_a_large_evaluation_is_sampled_and_says_so(page, evaluation):
    parsed, _ = page(evaluation=evaluation(classes(60, 5)), options=Options(map_images=100))
    assert "100 of 300 images, 20 of 60 classes, chosen at random" in parsed.words


def test_a_run_without_an_evaluation(page, run_folder):
    parsed, _ = page(run_folder)
    assert "Training" in parsed.words and "Hardest queries" not in parsed.words


def test_an_evaluation_without_a_run(page, evaluation):
    parsed, _ = page(evaluation=evaluation(classes(6)))
    assert "Training loss" not in parsed.words and "Hardest queries" in parsed.words


@pytest.mark.parametrize("gone", ["history.csv", "config.yaml", "summary.json"])
def test_a_run_that_lacks_a_file(page, run_folder, gone):
    (run_folder / gone).unlink()
    parsed, _ = page(run_folder)
    assert f"{gone} is missing" in parsed.words


@pytest.mark.parametrize(
    "text", ["", "epoch,loss\n", "epoch,loss\n1,nan\n2,\n", "epoch,note\n1,hello\n", "epoch,loss\nx,1\n"]
)
def test_a_history_with_nothing_in_it(page, run_folder, text):
    (run_folder / "history.csv").write_text(text)
    parsed, _ = page(run_folder)
    assert "small_cnn trained with triplet + gor for 3 epochs" in parsed.words


def test_uses_of_images_are_drawn_where_they_are_known(page, run_folder):
    uses = pl.DataFrame({"row": [0, 1, 2], "path": ["a", "b,c", "d"], "uses": [4, 0, 8]})
    uses.write_csv(run_folder / "image_uses.csv")
    told = "how often each of 3 training images was used: mean 4, standard deviation 3.27, 1 never"
    assert told in page(run_folder)[1]
    (run_folder / "image_uses.csv").unlink()
    assert "how often each" not in page(run_folder)[1]


def test_training_without_validation(page, run_folder):
    history = pl.read_csv(run_folder / "history.csv").drop("val_recall@1", "val_map@r")
    history.write_csv(run_folder / "history.csv")
    parsed, _ = page(run_folder)
    assert "There were no validation identities" in parsed.words
    assert len(parsed.all("svg")) == 2


@pytest.mark.parametrize("gone", ["per_query.parquet", "distances.json", "embeddings/space.json"])
def test_an_evaluation_that_lacks_a_file(page, evaluation, gone):
    folder = evaluation(classes(6))
    (folder / gone).unlink()
    parsed, _ = page(evaluation=folder)
    assert "Worth knowing" in parsed.words and gone.rpartition("/")[2] in parsed.words


def test_metrics_that_are_no_numbers(page, evaluation):
    folder = evaluation(classes(6))
    metrics = json.loads((folder / "metrics.json").read_text())
    bad = {key: {"value": np.nan} if isinstance(value, dict) else value for key, value in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(bad))
    parsed, _ = page(evaluation=folder)
    assert "No data to compute it." in parsed.words and " nan" not in parsed.words.lower()


def test_an_image_that_is_gone_is_listed_and_has_a_placeholder(page, evaluation):
    folder = evaluation(classes(4, 2))
    images = sorted(folder.with_name("evaluation-images").iterdir())
    images[0].unlink()
    images[1].write_text("not an image")
    parsed, _ = page(evaluation=folder, options=Options(worst=8, best=8, map_images=50))
    assert "2 images could not be read for this page" in parsed.words
    assert images[0].name in parsed.words and images[1].name in parsed.words


def test_lone_images_and_skipped_ones_are_told(page, evaluation):
    folder = evaluation([*classes(5), "alone"])
    rows = {"row": range(25), "path": [f"{n}.jpg" for n in range(25)], "reason": ["empty"] * 25}
    pl.DataFrame(rows).write_csv(folder / "embeddings" / "skipped.csv")
    parsed, _ = page(evaluation=folder)
    assert "no other image" in parsed.words
    assert "25 images could not be read in evaluation" in parsed.words
    assert "19.jpg" in parsed.words and "20.jpg" not in parsed.words and "… and 5 more" in parsed.words


def test_paths_of_this_machine_stay_out(page, evaluation, tmp_path):
    _, text = page(evaluation=evaluation(classes(5)))
    assert str(tmp_path) not in text and "../.." not in text


def test_the_page_stays_small(page, evaluation):
    folder = evaluation(classes(40, 4), noise=0.5)
    rng = np.random.default_rng(0)
    for file in folder.with_name("evaluation-images").iterdir():
        Image.fromarray(rng.integers(0, 255, (256, 256, 3), np.uint8)).save(file)
    _, text = page(evaluation=folder, options=Options(worst=20, best=20, map_images=1500))
    assert len(text.encode()) < LARGEST / 2, "noise is the worst that pictures can be"


def test_a_page_too_large_is_not_written(page, evaluation, monkeypatch, tmp_path):
    monkeypatch.setattr(template, "LARGEST", 1000)
    with pytest.raises(LookalikeError, match="fewer or smaller pictures"):
        page(evaluation=evaluation(classes(5)))
    assert not (tmp_path / "out.html").exists()


def test_the_same_folders_give_the_same_page(page, run_folder, evaluation):
    folder = evaluation(classes(6))
    options = Options(map_images=20)
    assert page(run_folder, folder, options)[1] == page(run_folder, folder, options)[1]


def test_what_cannot_be_shown_is_refused(page, run_folder, evaluation, tmp_path):
    with pytest.raises(LookalikeError, match="no such folder"):
        page(tmp_path / "nowhere")
    with pytest.raises(LookalikeError, match=r"no metrics\.json"):
        page(evaluation=run_folder)
    with pytest.raises(LookalikeError, match="needs a run or an evaluation"):
        page()
    (run_folder / "summary.json").write_text("{broken")
    with pytest.raises(LookalikeError, match=r"summary\.json cannot be read"):
        page(run_folder)
