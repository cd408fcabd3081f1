"""embed, evaluate, index and search, as a user runs them."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.embeddings import Embeddings
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build, load
from lookalike.search.index import Index


def small_model(seed):
    torch.manual_seed(seed)
    return build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()


@pytest.fixture(scope="module")
def prepared_dataset(shapes_folder, tmp_path_factory):
    """A dataset of ten identities, six of them in `test`, with one file that is no picture; two models."""
    root = tmp_path_factory.mktemp("jobs")
    shutil.copytree(shapes_folder, root / "photos")
    files = sorted((root / "photos").rglob("*.png"))
    files[-1].write_text("no picture")
    names = sorted({file.parent.name for file in files})
    rows = {
        "path": [str(file.relative_to(root / "photos")) for file in files],
        "label": [file.parent.name for file in files],
        "split": ["test" if names.index(file.parent.name) > 3 else "train" for file in files],
    }
    write_table(Table(pl.DataFrame(rows), root / "photos"), root / "data" / "mine", {})
    small_model(0).save(root / "model")
    small_model(1).save(root / "other")
    return root


@pytest.fixture
def here(prepared_dataset, tmp_path, monkeypatch):
    """A folder of one's own in which the prepared things lie."""
    for name in ("data", "model", "other", "photos"):
        (tmp_path / name).symlink_to(prepared_dataset / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return main([*words, *([] if words[0] == "search" else ["progress=false"])])


def test_embed_then_evaluate_index_and_search(here, capsys):
    assert run("embed", "model=model", "dataset=mine", "split=test", "out=emb/mine") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "emb/mine"
    embeddings = Embeddings.load("emb/mine")
    assert len(embeddings) == 47
    assert len(embeddings.skipped) == 1
    assert yaml.safe_load((here / "emb/mine/config.yaml").read_text())["split"] == "test"

    assert run("evaluate", "embeddings=emb/mine", "out=eval/mine", "coarse_far=true") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "eval/mine"
    metrics = json.loads((here / "eval/mine/metrics.json").read_text())
    direct = evaluate(
        embeddings.vectors, embeddings.table.labels, frame=embeddings.table.frame, coarse_far=True
    )
    assert metrics == json.loads(json.dumps(direct.summary(skipped=1)))

    assert run("index", "embeddings=emb/mine", "out=index/mine") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "index/mine"
    photo = embeddings.table.file(3)
    assert run("search", "index=index/mine", f"image={photo}", "k=2", "format=json") == 0
    results = json.loads(capsys.readouterr().out)
    assert len(results) == 1
    assert [set(results[0]), results[0]["image"]] == [{"image", "hits", "likely"}, str(photo)]
    assert results[0]["likely"] is None
    assert set(results[0]["hits"][0]) == {"label", "score", "path", "box"}
    first, second = results[0]["hits"]
    assert first["label"] == embeddings.table.labels[3]
    assert first["score"] == pytest.approx(1)
    assert (here / first["path"]).samefile(photo)
    assert second["score"] <= first["score"]
    assert first["box"] is None
    width, height = Image.open(photo).size
    for box in (f"box=0,0,{width},{height}", f"box=[0,0,{width},{height}]", f"box='0 0 {width} {height}'"):
        assert run("search", "index=index/mine", f"image={photo}", "k=1", "format=json", box) == 0
        (found,) = json.loads(capsys.readouterr().out)[0]["hits"]
        assert (found["label"], found["score"]) == (first["label"], first["score"])
    for box, said in (("1,2,3,a", "list"), ("[1,2,3]", "four numbers"), ("9,9,1,1", "x1 < x2")):
        assert run("search", "index=index/mine", f"image={photo}", f"box={box}") == 2
        assert said in capsys.readouterr().err
    assert run("search", "index=index/mine", f"image=[{photo},{photo}]", "box=0,0,9,9") == 2
    assert run("search", "index=index/mine", f"image={photo}", "box=9000,0,9009,9") == 1
    assert "9000" in capsys.readouterr().err


def test_an_evaluation_folder_is_whole(here):
    assert run("evaluate", "model=model", "dataset=data/mine", "out=eval", "ks=[1,3]") == 0
    embeddings = Embeddings.load("eval/embeddings")
    per_query = pl.read_parquet("eval/per_query.parquet")
    assert per_query["label"].to_list() == embeddings.table.labels.tolist()
    assert per_query["row"].to_list() == list(range(47))
    assert (here / "eval" / per_query["path"][0]).samefile(embeddings.table.file(0))
    assert {"recall@1", "recall@3", "precision@3", "map@r", "neighbours", "scores"} <= set(per_query.columns)
    first = per_query["neighbours"][0].to_list()
    unit = np.asarray(embeddings.vectors, np.float64)
    assert unit[0] @ unit[first[0]] == pytest.approx(per_query["scores"][0][0], abs=1e-6)
    distances = json.loads((here / "eval/distances.json").read_text())
    assert sum(distances["positive"]) + sum(distances["negative"]) == 47 * 46 // 2
    assert len(distances["edges"]) == len(distances["positive"]) + 1
    assert yaml.safe_load((here / "eval/config.yaml").read_text())["protocol"]["ties"] == "lower_row"


def test_a_missing_split_lists_those_that_exist(here, capsys):
    assert run("evaluate", "model=model", "dataset=mine", "split=val", "out=eval") == 1
    assert "no images in split val; there are test (48 images), train (32 images)" in capsys.readouterr().err
    assert not (here / "eval").exists()
    assert run("embed", "model=model", "dataset=mine", "split=train", "out=emb") == 0
    assert run("evaluate", "embeddings=emb", "split=test", "out=eval") == 1
    assert "there are train (32 images)" in capsys.readouterr().err
    assert run("evaluate", "embeddings=emb", "out=eval") == 0


def test_results_are_never_overwritten(here, capsys):
    (here / "done").mkdir()
    (here / "done" / "mine.txt").touch()
    for job in ("embed", "evaluate", "index"):
        assert run(job, "model=model", "dataset=mine", "out=done") == 1
        assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["evaluate", "index"])
@pytest.mark.parametrize("given", [[], ["model=model"], ["dataset=mine"], ["embeddings=e", "dataset=mine"]])
def test_what_to_work_on_has_to_be_clear(here, capsys, job, given):
    assert run(job, "out=x", *given) == 2
    assert "give either embeddings=FOLDER, or model=FOLDER and dataset=FOLDER" in capsys.readouterr().err


def test_vectors_of_another_model_are_refused(here, capsys):
    run("embed", "model=model", "dataset=mine", "out=emb")
    assert run("index", "embeddings=emb", "model=other", "out=index") == 1
    assert "contains vectors of the model" in capsys.readouterr().err
    assert run("index", "embeddings=emb", "model=model", "out=index") == 0
    assert run("search", "index=index", "image=photos", "model=other") == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_a_far_finer_than_the_pairs_is_said(here, capsys):
    assert run("evaluate", "model=model", "dataset=mine", "out=eval", "far=1e-9") == 0
    assert "negative pairs show no rate below" in " ".join(capsys.readouterr().out.split())
    metrics = json.loads((here / "eval/metrics.json").read_text())
    assert not [name for name in metrics if name.startswith("tar@")]
    assert "no rate below" in metrics["notes"][-1]


@pytest.fixture
def index(here):
    run("index", "model=model", "dataset=mine", "split=test", "out=index")
    return here / "index"


def test_search_takes_folders_and_lists_and_skips_what_is_no_photo(index, here, capsys):
    capsys.readouterr()
    assert run("search", "index=index", "image=photos", "format=json", "k=1") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert len(found) == 79
    assert "1 of 80 images cannot be read" in said.err

    photos = [result["image"] for result in found[:2]]
    (here / "lists").mkdir()
    shutil.copy(photos[0], here / "lists" / "beside the list é.png")
    (here / "lists" / "some.txt").write_text(f"{photos[1]}\n\nbeside the list é.png\nnowhere.png\n", "utf-8")
    assert run("search", "index=index", "image=lists/some.txt", "format=json") == 0
    said = capsys.readouterr()
    assert [each["image"] for each in json.loads(said.out)] == [photos[1], "lists/beside the list é.png"]
    assert "lists/nowhere.png" in said.err


def test_search_by_label_gives_each_identity_once_with_its_nearest_image(index, here, capsys):
    photo = next(iter(sorted(here.glob("photos/*/0.png"))))
    capsys.readouterr()
    assert run("search", "index=index", f"image={photo}", "k=100", "format=json") == 0
    (images,) = json.loads(capsys.readouterr().out)
    first = {}
    for hit in images["hits"]:
        first.setdefault(hit["label"], hit)
    for k in (1, 3, 100):
        assert run("search", "index=index", f"image={photo}", f"k={k}", "format=json", "by=label") == 0
        (labels,) = json.loads(capsys.readouterr().out)
        assert labels["hits"] == list(first.values())[:k]


@pytest.mark.parametrize(("threshold", "likely"), [(0.999, True), (1.0, False), (-1.0, True)])
def test_a_photo_of_nobody_is_said_to_be_none_of_the_hits(index, here, capsys, threshold, likely):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    if threshold == 1.0:
        Image.fromarray(noise).save(here / "noise.png")
        photo = here / "noise.png"
    else:
        photo = Index.load("index").table.file(0)
    capsys.readouterr()
    search = ["search", "index=index", f"image={photo}"]
    assert run(*search, f"threshold={threshold}", "format=json") == 0
    assert json.loads(capsys.readouterr().out)[0]["likely"] is likely
    point = OperatingPoint(
        0.01, 0.01, threshold, threshold, threshold, 0.9, 0.8, 0.95, 1e-4, 50, 10, load("model").space
    )
    write_point(point, here / "model")
    assert run(*search, "format=json") == 0
    assert json.loads(capsys.readouterr().out)[0]["likely"] is likely
    assert run(*search) == 0
    assert ("probably none of these" in capsys.readouterr().err) is not likely


def test_search_as_a_table_shows_label_score_and_a_path_that_opens(index, here, capsys):
    photo = next(iter(sorted(here.glob("photos/*/0.png"))))
    capsys.readouterr()
    assert run("search", "index=index", f"image={photo}", "k=3") == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["image", "rank", "score", "label", "path"] and len(rows) == 3
    assert rows[0][:2] == [str(photo), "1"]
    assert 0 < float(rows[0][2]) <= 1
    assert (here / rows[0][4]).is_file()


@pytest.mark.parametrize("image", ["nowhere.jpg", "empty", "bad.jpg"])
def test_search_without_any_photo_fails_and_prints_no_result(index, here, capsys, image):
    (here / "empty").mkdir()
    (here / "bad.jpg").write_text("no photo")
    capsys.readouterr()
    assert run("search", "index=index", f"image={image}", "format=json") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert image in said.err


def test_protocols_metrics_and_columns_are_chosen_on_the_command_line(here, capsys):
    assert run("embed", "model=model", "dataset=mine", "split=test", "out=emb") == 0
    asked = ["metric=[recall_at_k,mrr,knn_at_k,clustering,eer,hubness]", "by=[label]", "far=[0.5,0.1]"]
    assert run("evaluate", "embeddings=emb", "out=eval", "protocol=references", *asked, "ks=[3]") == 0
    metrics = json.loads((here / "eval/metrics.json").read_text())
    assert {
        "recall@3",
        "mrr",
        "knn@3",
        "nmi",
        "ari",
        "eer",
        "anti_hubs",
        "tar@far=0.5",
        "tar@far=0.1",
    } <= set(metrics)
    assert "map@r" not in metrics
    assert metrics["queries"] == 41
    assert pl.read_csv(here / "eval/metrics_by_label.csv")["queries"].to_list() == [7, 7, 7, 7, 7, 6]
    per_query = pl.read_parquet("eval/per_query.parquet")
    paths = Embeddings.load("emb").table
    for row, path in per_query.select("row", "path").iter_rows():
        assert (here / "eval" / path).samefile(paths.file(row))


def test_a_metric_of_ones_own(here, monkeypatch):
    (here / "my_metrics.py").write_text(
        "def sure(pairs, least: float = 0.5):\n    return pairs.positives * least\n"
    )
    monkeypatch.syspath_prepend(here)
    run("embed", "model=model", "dataset=mine", "split=test", "out=emb")
    own = ["metric=[map]", "+metric.sure._target_=my_metrics.sure", "+metric.sure.least=2.0"]
    assert run("evaluate", "embeddings=emb", "out=eval", *own) == 0
    metrics = json.loads((here / "eval/metrics.json").read_text())
    assert metrics["sure"]["value"] == 2 * (5 * 28 + 21)


def test_a_list_of_pairs_is_judged(here, capsys):
    run("embed", "model=model", "dataset=mine", "split=test", "out=emb")
    table = Embeddings.load("emb").table.frame
    paths, labels = table["path"].to_list(), table["label"].to_list()
    lines = [
        f"{paths[a]},{paths[b]},{int(labels[a] == labels[b])}" for a in range(10) for b in range(a + 1, 30)
    ]
    (here / "pairs.csv").write_text("\n".join(lines))
    asked = ["protocol=pairs", "protocol.file=pairs.csv", "far=0.1"]
    assert run("evaluate", "embeddings=emb", "out=eval", *asked) == 0
    metrics = json.loads((here / "eval/metrics.json").read_text())
    assert 0 < metrics["fold_accuracy"]["value"] <= 1
    assert len(pl.read_parquet("eval/per_pair.parquet")) == len(lines)
    assert run("report", "evaluation=eval", "map_images=0") == 0
    (here / "pairs.csv").write_text("x.jpg,y.jpg,1")
    capsys.readouterr()
    assert run("evaluate", "embeddings=emb", "out=again", *asked) == 1
    assert "x.jpg: there is no such image" in capsys.readouterr().err
    assert run("evaluate", "embeddings=emb", "out=again", "protocol=pairs") == 2
    assert "protocol.file" in capsys.readouterr().err
