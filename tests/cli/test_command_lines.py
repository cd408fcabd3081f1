"""Command lines as users type them: recognised, or refused with the words that work; never a traceback."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike import cli
from lookalike.cli import main
from lookalike.config import catalogue

TRAIN = ["train", "dataset=d", "out=o"]
ODD = [
    *("~", "~name", "~/a.jpg", "~loss.triplet", "=", "==", "a=b=c", "-", "--", "---", "-h", "--help"),
    *("-1", "--key", "--key=value", "--=x", "epochs", "epochs=", "epochs =", "= 3", "epochs= 3"),
    *('"', "'", "[", "]", "{}", "a,b", "out='a,b'", "out=[a", "out={a:", "out=$HOME", "out=${HOME}"),
    *("out=${a.b}", "out=$", "out=???", "%", "out=%d", "out=%s%n", "dataset=[a,b]", "dataset=[]"),
    *("dataset={}", "dataset=null", "k=None", "k=nan", "C:\\photos\\a.jpg", "out=C:\\a", "out=a/"),
    *("out=/", "image=ÄÖ 图.jpg", "seed=٠", "out=\u202e", "lr=1e999", "+", "++", "+x", "+x=1", "++x=1"),
    *("~x=1", "x.y.z=1", "loss=", "loss=[]", "loss=[triplet,triplet]", "loss=null", "epochs=1e3"),
    *("epochs=0x10", "epochs=1_000", "epochs=True", "epochs=yes", "k=5px", "seed=-1", "seed=1e30"),
    *("image=choice(a,b)", "image=glob(*)", "image=range(1,3)", "image=int(3)", "image=f(x"),
    *("image=a b", "hydra=1", "hydra.run.dir=x", "_target_=os.system", "+_target_=os.system"),
    *("loss.triplet._target_=os.system", "defaults=[]", "experiment=", "experiment=x"),
    *("+experiment=nekonet_1", "conf_dir=nowhere", "conf_dir=/", "help", "train", "\udcff"),
    *("image=\udcff.jpg", "stages=[{epochs: 1}]", "stages=[1]", "", " "),
    *("x" * 5000, "out=" + "y" * 5000),
]
KEYS = sorted({key for job in catalogue.jobs() for key in (*catalogue.keys(job), *catalogue.groups(job))})
VALUES = st.one_of(
    st.sampled_from(
        ["1", "0", "-1", "0.5", "1e-3", "nan", "inf", "true", "yes", "None", "null", "[]", "{}", "[1,2]"]
    ),
    st.sampled_from(
        ["[a,b]", "{a: 1}", "timm", "triplet", "[triplet,gor]", "{_target_: a.b}", "''", "a=b", "~/x"]
    ),
    st.text(string.printable, max_size=12),
    st.text(max_size=6),
)
ARGUMENTS = st.one_of(
    st.sampled_from(ODD),
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "~", "--"]), st.sampled_from(KEYS), VALUES),
    st.text(max_size=10).filter(lambda word: word not in main.FLAGS),
)


@pytest.fixture
def idle(tmp_path, monkeypatch, configs):
    """Every job does nothing; what is left is what happens to the words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def run(words, capsys):
    code = main.main(words)
    out, err = capsys.readouterr()
    return code, out, err


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(sorted(cli.JOBS)), st.lists(ARGUMENTS, max_size=4))
@example("train", ["dataset=d", "out=o", "+experiment=nekonet_1", "loss=[]"])
def test_no_words_end_in_a_traceback(idle, capsys, job, words):
    code, _, err = run([job, *words], capsys)
    assert code in (0, 1, 2)
    assert "Traceback" not in err
    assert "unexpected error" not in err, err
    assert code == 0 or err.startswith(("lookalike: ", "usage", "Learn")) or "\nlookalike: " in err
    assert not list(idle.glob("**/*"))


@pytest.mark.parametrize("word", ODD)
def test_no_odd_word_ends_in_a_traceback(idle, capsys, word):
    for words in (
        [word],
        ["verify", "model=m", word],
        [*TRAIN, word],
        ["search", "index=i", "image=a", word],
    ):
        code, _, err = run(words, capsys)
        assert code in (0, 1, 2)
        assert "Traceback" not in err
        assert "unexpected error" not in err, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["epochs", "=", "3"], "epochs = 3: write it without spaces around =: epochs=3"),
        (["epochs=", "3"], "write it without spaces around =: epochs=3"),
        (["epochs", "=3"], "write it without spaces around =: epochs=3"),
        (["epochs", "3"], "epochs=3"),
        (["--epochs", "3"], "written without dashes: epochs=3"),
        (["--image-size=96"], "written without dashes: image_size=96"),
        (["epochs="], "epochs=: has no value"),
        (["epochs=3 seed=1"], "contains two arguments in one word"),
        (["batch_size=16"], "sampler.classes_per_batch=4 sampler.samples_per_class=4 for 16"),
        (["learning_rate=0.1"], "Use lr=0.1"),
        (["mining=hardest"], "loss=triplet loss.triplet.mining=batch_hard"),
        (["loss=triplet", "loss.triplet.mining=hardest"], "Did you mean batch_hard?"),
        (["model=resnet50"], "backbone=timm backbone.name=resnet50"),
        (["backbone=resnet50"], "backbone=timm backbone.name=resnet50"),
        (["num_epochs=3"], "Use epochs=3"),
        (["embedding_dim=64"], "Use dim=64"),
        (["img_size=64"], "Use image_size=64"),
        (["num_workers=1"], "Use workers=1"),
        (["gpus=2"], "device=cuda"),
        (["far=0.1%"], "Did you mean 0.001?"),
        (["far=1/1000"], "Did you mean 0.001?"),
        (["image_size=224px"], "Did you mean 224?"),
        (["lr=0,5"], "lr=0.5"),
        (["out=$NOWHERE_SET/x"], "the environment variable NOWHERE_SET is not set"),
        (["recipe=nekonet_1"], "experiment=nekonet_1"),
    ],
)
def test_a_wrong_word_is_named_with_what_works(idle, capsys, words, said):
    code, out, err = run([*TRAIN, *words], capsys)
    assert code == 2
    assert said in err
    assert out == ""


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["freeze=backbone"], "freeze", ["backbone"]),
        (["resume.allow=epochs"], "resume", {"allow": ["epochs"]}),
        (["matryoshka=32"], "matryoshka", [32]),
        (["progress=no"], "progress", False),
        (["progress=Off"], "progress", False),
        (["compile=YES"], "compile", True),
        (["keep_statistics=y"], "keep_statistics", True),
        (["clip=None"], "clip", None),
        (["teacher=None"], "teacher", None),
        (["epochs=7 "], "epochs", 7),
        (["epochs = 7"], "epochs", 7),
        (["cache=~/x"], "cache", Path("~/x").expanduser()),
        (["cache=$HOME/x"], "cache", Path(os.environ.get("HOME", "/")) / "x"),
        (["cache=C:\\photos\\a"], "cache", Path("C:\\photos\\a")),
        (["cache=a/"], "cache", Path("a")),
        (["cache=100% (1) é.jpg"], "cache", Path("100% (1) é.jpg")),
        (["cache=a=b"], "cache", Path("a=b")),
        (["epochs=1", "epochs=2"], "epochs", 2),
    ],
)
def test_what_is_clear_is_taken(monkeypatch, idle, configs, capsys, words, key, value):
    monkeypatch.setenv("HOME", os.environ.get("HOME", "/"))
    code, _, err = run([*TRAIN, *words], capsys)
    assert code == 0, err
    assert configs["train"][0].model_dump()[key] == value
    assert ("given 2 times" in err) == (len(words) == 2)


def test_names_of_files_are_taken_as_they_are(idle, configs, capsys):
    names = ["a=b.jpg", "~c", "-1.jpg", "a,b.jpg", "[1].jpg", "it's.jpg", "model 2.jpg"]
    for name in names:
        (idle / name).touch()
        assert run(["verify", name, "x.jpg", "model=m"], capsys)[0] == 0
        assert configs["verify"].pop().images[0].absolute() == Path(name).absolute()
        assert run(["search", "index=i", f"image={name}"], capsys)[0] == 0
        assert Path(configs["search"].pop().image).absolute() == Path(name).absolute()
        (idle / name).unlink()


@pytest.mark.parametrize(
    "words", ["help", "help train", "train help", "-h train", "train x=1 -h", "train -help"]
)
def test_help_is_found_wherever_it_is_asked_for(idle, capsys, words):
    code, out, _ = run(words.split(), capsys)
    assert (code, "Usage: lookalike" in out) == (0, True)


def test_a_bug_is_one_line_and_a_file(monkeypatch, idle, capsys):
    def bug(config):
        raise KeyError("nobody expected this")

    monkeypatch.setattr(cli.module("train"), "main", bug)
    monkeypatch.setattr("tempfile.tempdir", str(idle))
    code, out, err = run([*TRAIN, "seed=5"], capsys)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    (file,) = idle.glob("lookalike-error-*.log")
    assert str(file) in err
    text = file.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "lookalike train dataset=d out=o seed=5" in text
    monkeypatch.setenv("LOOKALIKE_DEBUG", "1")
    assert "Traceback" in run(TRAIN, capsys)[2]
    assert len(list(idle.glob("*.log"))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["device=gpu"], "device=gpu: no such device. Did you mean device=cuda?"),
        (["device=GPU:1"], "Did you mean device=cuda:1?"),
        (["device=0"], "Did you mean device=cuda:0?"),
        (["device=nvidia"], "Did you mean device=cuda?"),
        (["device=abc"], "device=abc: no such device. This machine has cpu"),
        (["device=cuda:99"], "This machine has cpu"),
        (["freeze=[all]"], "freeze=[backbone] freezes the backbone"),
        (["freeze=[model]"], "freeze=[backbone] freezes the backbone"),
        (["freeze=[Everything]"], "freeze=[backbone] freezes the backbone"),
        (["freeze=[blocks]"], "matches no part of the model; nearest: "),
        (
            ["experiment=nekonet_1"],
            "stages: stage 2: freeze: 'backbone.net.blocks.[56]' matches no part",
        ),
        (["experiment=nekonet_1"], "stages=[] trains in one stage"),
        (["experiment=nekonet_1", "loss=arcface"], "stages: stage 4: loss.triplet.mining: loss=triplet"),
        (["experiment=nekonet_1", "loss=arcface"], "stages=[] trains in one stage"),
        (["stages=[{epochs: 1}, {freeze: [nothing]}]"], "stages: stage 2: freeze: 'nothing'"),
    ],
)
def test_a_wrong_part_or_device_is_refused_before_training(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    for label in "abcd":
        for number in range(4):
            Image.new("RGB", (16, 16), (60 * number, ord(label), 9)).save(tmp_path / f"{label}{number}.png")
    rows = [f"{label}{number}.png,{label},train" for label in "abcd" for number in range(4)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    small = ["backbone=small_cnn", "epochs=1", "image_size=16", "dim=4", "val_share=0"]
    assert main.main(["train", "dataset=table.csv", "out=run", *small, *words]) == 2
    err = capsys.readouterr().err
    main.log.handlers.clear()
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_cycle_of_causes_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert len(list(main._causes(first))) == 2
