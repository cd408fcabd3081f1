"""`lookalike plot`, as a user runs it."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli._plot_keys import KEYS
from lookalike.cli.main import main
from lookalike.config import catalogue
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.evaluation.evaluate import evaluate
from lookalike.report.plot_inputs import OFFERS

LABELS = [f"kind {number // 6}" for number in range(30)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Embeddings, two evaluations, a run with history, uses, model and evaluation, and its dataset."""
    import torch

    from lookalike.data.table import write_table
    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, embedder, heads, pooling

    root = tmp_path_factory.mktemp("plots")
    (root / "photos").mkdir()
    for row in range(len(LABELS)):
        Image.new("RGB", (24, 20 + row % 3), (40 * (row // 6), 9 * row, 100)).save(
            root / "photos" / f"{row}.png"
        )
    frame = pl.DataFrame(
        {
            "path": [f"{row}.png" for row in range(30)],
            "label": LABELS,
            "split": ["train" if row < 18 else "test" for row in range(30)],
            "camera": [row % 2 for row in range(30)],
        }
    )
    table = Table(frame, root / "photos")
    write_table(table, root / "data", {"job": "test"})
    rng = np.random.default_rng(0)
    for name, noise in (("a", 0.5), ("b", 1.5)):
        vectors = rng.normal(size=(5, 8))[np.arange(30) // 6] + noise * rng.normal(size=(30, 8))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        found = Embeddings(vectors, table, "5pace")
        if name == "a":
            found.save(root / "emb")
        evaluation = evaluate(vectors, table.labels, far=0.1)
        replace(evaluation, embeddings=found).save(root / "eval" / name, {"job": "evaluate"})
    run = root / "run"
    torch.manual_seed(0)
    model = embedder.build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16))
    model.save(run / "model")
    (run / "config.yaml").write_text(f"dataset: {root / 'data'}\nimage_size: 16\nbest_metric: map@r\n")
    (run / "summary.json").write_text(json.dumps({"best_epoch": 2}))
    history = {
        "epoch": [1, 2],
        "stage": [1, 2],
        "loss": [2.0, 1.0],
        "val_map@r": [0.3, 0.5],
        "lr_head": [0.1, 0.01],
    }
    pl.DataFrame(history).write_csv(run / "history.csv")
    pl.DataFrame({"uses": [1, 2, 2, 0]}).write_csv(run / "image_uses.csv")
    (run / "evaluation").symlink_to(root / "eval" / "a")
    return root


GIVEN = {
    "batch": "run=run",
    "compare": "runs=[eval/a,eval/b]",
    "curves": "run=run",
    "uses": "run=run",
    "saliency": "model=run/model images=[photos/1.png,photos/9.png] plot.steps=3",
    "det": "runs=[eval/a,eval/b]",
    "queries": "run=run plot.which=closest",
    "confusion": "embeddings=emb reference=emb by=camera plot.k=1",
    "mosaic": "embeddings=emb plot.method=pca plot.side=400",
    "tsne": "embeddings=emb by=camera",
    "distances": "embeddings=emb plot.density=true",
    "hubs": "evaluation=eval/a plot.k=3",
}


SLOW = {"umap": pytest.mark.slow}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW.get(name, ())) for name in sorted(catalogue.choices("plot"))]
)
def test_every_plot_is_made_from_the_command_line(folders, tmp_path, monkeypatch, capsys, name):
    if name == "umap" and importlib.util.find_spec("umap") is None:
        pytest.skip("umap-learn is not installed")
    monkeypatch.chdir(folders)
    out = tmp_path / "new" / f"{name}.png"
    given = GIVEN.get(name, "evaluation=eval/a").split()
    assert main(["plot", f"plot={name}", f"out={out}", "progress=false", "workers=0", *given]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert min(Image.open(out).size) > 200
    assert [file.name for file in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_vector_formats_are_the_same_each_time(folders, tmp_path, monkeypatch, ending, start):
    monkeypatch.chdir(folders)
    made = []
    for name in ("one", "two"):
        out = tmp_path / f"{name}.{ending}"
        assert main(["plot", "plot=pca", "embeddings=emb", f"out={out}"]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1] and made[0].startswith(start)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("plot=pca", "needs vectors"),
        ("plot=curves", "give run="),
        ("plot=saliency model=run/model", "two photos"),
        ("plot=saliency images=[a.png,b.png]", "with a model"),
        ("plot=batch", "training batch"),
        ("plot=pca embeddings=emb evaluation=eval/a", "give one of them"),
        ("plot=pca embeddings=emb by=colour", "no such column; it has"),
        ("plot=similarity embeddings=emb plot.classes=[none]", "no class 'none'"),
        ("plot=pca embeddings=emb out=here", "must end in .png"),
        ("plot=compare runs=[eval/a]", "two evaluations"),
        (
            "plot=det runs=[eval/a,eval/b] embeddings=nowhere split=foo",
            "split=foo: plot=det makes no use of these with runs=; it uses runs, force, seed\n",
        ),
        ("plot=batch dataset=data split=test images=[a,b]", "plot=batch makes no use of these; it uses"),
        (
            "plot=tsne evaluation=eval/a split=test",
            "split=test: plot=tsne makes no use of it with evaluation=; it uses evaluation, by\n",
        ),
        ("plot=tsne embeddings=emb seed=3", "Did you mean plot.seed?"),
        (
            "plot=pca embeddings=emb runs=[eval/a,eval/b]",
            "eval/b]: plot=pca makes no use of it;",
        ),
        ("plot=queries evaluation=eval/a threshold=0.5", "makes no use of it with plot.which=worst; it uses"),
        ("plot=similarity embeddings=emb plot.rows=[0,1] plot.classes=[a]", "give one of them"),
        ("plot=similarity embeddings=emb plot.rows=[0,1] plot.num_classes=2", "rows= selects them"),
        (
            "plot=similarity embeddings=emb plot.classes=[a] plot.num_classes=2",
            "classes= selects the classes",
        ),
        ("plot=confusion embeddings=emb reference=emb by=colour", "no such column; it has"),
        (
            "plot=roc embeddings=emb force=true",
            "force=true: plot=roc makes no use of it without runs=; it uses",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(folders, tmp_path, monkeypatch, capsys, given, said):
    monkeypatch.chdir(folders)
    out = [] if "out=" in given else [f"out={tmp_path / 'x.png'}"]
    assert main(["plot", *given.split(), *out, "progress=false"]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_of_every_input_it_is_known_which_keys_make_it():
    assert set(KEYS) == set(OFFERS)
    assert {key for keys in KEYS.values() for key in keys} <= set(catalogue.keys("plot"))


def test_references_of_another_space_are_refused(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    found = Embeddings.load("emb")
    Embeddings(np.array(found.vectors), found.table, "0ther").save(tmp_path / "other")
    words = [
        "plot=confusion",
        "embeddings=emb",
        f"reference={tmp_path / 'other'}",
        f"out={tmp_path / 'x.png'}",
    ]
    assert main(["plot", *words]) == 1
    assert "embed both with one model" in capsys.readouterr().err


def test_unreadable_images_are_crossed_out_and_named(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    found = Embeddings.load("emb")
    frame = found.table.frame.with_columns(path=pl.lit("nowhere.png"))
    Embeddings(np.array(found.vectors), Table(frame, tmp_path), "5pace").save(tmp_path / "lost")
    out = tmp_path / "x.png"
    words = ["plot=similarity", "plot.num_classes=1", "plot.per_class=2", f"embeddings={tmp_path / 'lost'}"]
    assert main(["plot", *words, f"out={out}"]) == 0
    assert "2 images cannot be read" in capsys.readouterr().err
    assert out.is_file()


def test_a_plot_of_ones_own_gets_what_it_names(folders, tmp_path, monkeypatch):
    (tmp_path / "conf" / "plot").mkdir(parents=True)
    (tmp_path / "conf" / "plot" / "mine.yaml").write_text("# mine\n_target_: my_plots.mine\nsize: 3\n")
    (tmp_path / "my_plots.py").write_text(
        "from matplotlib.figure import Figure\n"
        "def mine(vectors, labels, size: int = 2) -> Figure:\n"
        "    assert vectors.shape == (30, 8) and len(labels) == 30\n"
        "    return Figure(figsize=(size, size))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(folders)
    words = [
        f"conf_dir={tmp_path / 'conf'}",
        "plot=mine",
        "embeddings=emb",
        f"out={tmp_path / 'x.png'}",
        "dpi=100",
    ]
    assert main(["plot", *words]) == 0
    assert Image.open(tmp_path / "x.png").size == (300, 300)


@pytest.mark.parametrize("name", ["roc", "det"])
def test_curves_of_different_tests_are_not_drawn_together(folders, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(folders)
    found = Embeddings.load("emb")
    for part, there in (("one", slice(0, 12)), ("other", slice(12, 24))):
        table, vectors = found.table.take(np.arange(30)[there]), np.array(found.vectors[there])
        result = evaluate(vectors, table.labels, frame=table.frame, far=0.1, intervals=False)
        embeddings = Embeddings(vectors, table, "5pace")
        replace(result, embeddings=embeddings).save(tmp_path / part, {"job": "evaluate"})
    out = tmp_path / "x.png"
    runs = f"runs=[{tmp_path / 'one'},{tmp_path / 'other'}]"
    words = ["plot", f"plot={name}", runs, f"out={out}", "progress=false"]
    assert main(words) == 1
    assert "they are of different images" in (said := capsys.readouterr().err) and "force=true" in said
    assert not out.exists()
    assert main([*words, "force=true"]) == 0 and out.is_file()
