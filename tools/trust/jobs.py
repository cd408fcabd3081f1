"""The jobs that write results, each as a command on a small workspace, and how results are compared."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from trust.processes import start_job

SAMPLE = Path(__file__).parents[2] / "src" / "lookalike" / "sample" / "emoji"
QUIET = "progress=false"
TINY = ["backbone=small_cnn", "backbone.channels=[4,8]", "image_size=28", "dim=16", "device=cpu", "workers=0"]
TRAIN = ["train", "dataset=data/mine", *TINY, QUIET, "epochs=2", "val_share=0.3", "save_minutes=0.0001"]
MODEL = "model=runs/mine/model"


@dataclass(frozen=True)
class Command:
    """A command that writes a result.

    Attributes:
        name: what the row calls it.
        words: the command, without out=.
        out: the folder or file that it writes, without an ending for a folder.
    """

    name: str
    words: tuple[str, ...]
    out: str

    def call(self, out: str | None = None) -> list[str]:
        """The words of the command with its out=."""
        return [*self.words, f"out={out or self.out}"]


SETUP = (
    Command("prepare", ("prepare", "source=folder", "source.root=photos", "workers=0"), "data/mine"),
    Command("train", tuple(TRAIN), "runs/mine"),
    Command("embed", ("embed", MODEL, "dataset=data/mine", "split=test", QUIET), "emb/mine"),
    Command("index", ("index", "embeddings=emb/mine"), "index/mine"),
    Command("index sqlite", ("index", "embeddings=emb/mine", "engine=sqlite"), "index/live"),
    Command("evaluate", ("evaluate", "embeddings=emb/mine", QUIET), "eval/mine"),
)
"""What makes the workspace, in this order."""
OTHERS = (
    Command(
        "prepare shrink",
        ("prepare", "source=folder", "source.root=photos", "shrink=40", "workers=0"),
        "data/small",
    ),
    Command("prepare shards", ("prepare", "shards", "dataset=data/mine"), "data/shards"),
    Command("prepare filter", ("prepare", "filter", "dataset=data/mine", "min_images=2"), "data/some"),
    Command("clean", ("clean", "dataset=data/mine", MODEL, QUIET, "workers=0"), "clean/mine"),
    Command("export", ("export", MODEL, "dataset=data/mine", "format=onnx"), "exports/mine"),
    Command("sheet", ("prepare", "sheet", "dataset=data/mine"), "sheet/mine"),
    Command("report", ("report", "run=runs/mine"), "report.html"),
    Command("plot", ("plot", "plot=tsne", "evaluation=eval/mine"), "tsne.png"),
    Command("explore", ("explore", "runs/mine", "open=false"), "map/mine"),
)
COMMANDS = {command.name: command for command in (*SETUP, *OTHERS)}


def make_workspace(folder: Path, classes: int = 16, per_class: int = 4) -> Path:
    """A folder with photos, and the result of every command of `SETUP`."""
    if (folder / "ready").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for identity in sorted(SAMPLE.iterdir())[:classes]:
        (folder / "photos" / identity.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(identity.glob("*.png"))[:per_class]:
            shutil.copy(file, folder / "photos" / identity.name)
    for command in SETUP:
        end = start_job(command.call(), folder).wait()
        if end.code != 0:
            raise RuntimeError(f"{command.name}: {end.err}")
    (folder / "ready").touch()
    return folder


TIMES = re.compile(r"\"?(minutes|images_per_second|date|at|time|created|out|folder)\"?: .*")


MOMENT = re.compile(r"\\?\"at\\?\": ?\\?\"[^\"]*\"")


def fingerprint(result: Path) -> dict[str, str]:
    """A hash of each file of a result; times and the record of the command are left out."""
    files = [result] if result.is_file() else sorted(path for path in result.rglob("*") if path.is_file())
    hashes = {}
    for file in files:
        name = file.name if result.is_file() else file.relative_to(result).as_posix()
        if file.name in UNSTABLE or file.suffix in (".png", ".xlsx") or name.startswith("state/"):
            hashes[name] = "present"
        else:
            hashes[name] = hashlib.sha256(_stable_bytes(file)).hexdigest()
    return hashes


UNSTABLE = {"history.csv", "README.md", "index.sqlite", "export.json", "shards.json"}
"""Files with times, measured speeds, or hashes of such files."""


def _stable_bytes(file: Path) -> bytes:
    if file.suffix in (".yaml", ".json", ".jsonl", ".md"):
        text = file.read_text(encoding="utf-8")
        if file.name == "summary.json":
            text = json.dumps(json.loads(text), indent=1)
        return TIMES.sub("", text).encode()
    if file.suffix == ".html":
        return MOMENT.sub("", file.read_text(encoding="utf-8")).encode()
    return file.read_bytes()


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that a job left."""
    pattern = re.compile(r"\..*\.(partial|old|images|mode)$")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if pattern.match(path.name))
