"""One run of the loss study, in a process of its own: train, embed the test images, write what came out.

python benchmarks/_study_run.py DATASET OUT.json '{"method": …, "seed": 0, "image_size": 64, …}'
"""

import json
import logging
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch

import lookalike
from _study_peers import PEERS, train_peer
from lookalike.data.datasets import split_validation
from lookalike.data.table import Table
from lookalike.files import replace_file, write_text
from lookalike.model.embedder import EmbeddingModel

METRICS = ("map@r", "recall@1")


def processor_seconds() -> float:
    """Processor time of this process, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def train_ours(dataset: Path, out: Path, plan: dict[str, Any]) -> tuple[EmbeddingModel, dict[str, Any]]:
    """The default recipe with the changes of the plan, and what its run folder says."""
    keys = {"threads": 1, "workers": 0, "progress": False, "seed": plan["seed"], **plan["keys"]}
    started = processor_seconds()
    run = lookalike.train(dataset, out, image_size=plan["image_size"], **keys)
    seconds = processor_seconds() - started
    summary = json.loads((out / "summary.json").read_text())
    found = {"seconds": seconds, "epochs": summary["epochs"], "images": 0}
    curve: list[float | None] = []
    if summary["epochs"]:
        history = run.history
        curve = history["val_map@r"].to_list() if "val_map@r" in history.columns else []
        found["images"] = int(history["rows"].sum())
    return run.model, {**found, "validation": summary["best_score"], "curve": curve}


def train_other(table: Table, plan: dict[str, Any]) -> tuple[EmbeddingModel, dict[str, Any]]:
    """A peer with the seconds of the plan; in a search, its score on the held-out identities."""
    split = split_validation(table, plan["keys"].get("val_share", 0.0), plan["seed"])
    started = processor_seconds()
    model = train_peer(
        *(plan["method"], split.split("train"), plan["image_size"], plan["seconds"], plan["seed"]),
        rate=plan["rate"],
    )
    found: dict[str, Any] = {"seconds": processor_seconds() - started}
    if plan["keys"].get("val_share"):
        found["validation"] = score(model, split.split("val"))[0]["map@r"]
    return model, found


def score(model: EmbeddingModel, table: Table) -> tuple[dict[str, float], pl.DataFrame]:
    """Metrics, and those of each query."""
    embeddings = lookalike.embed(model, table, workers=0, progress=False)
    result = lookalike.evaluate(embeddings.vectors, embeddings.table.labels, intervals=False)
    values = {name: float(result.metrics[name]["value"]) for name in METRICS}
    return values, result.per_query.select("row", "label", *METRICS)


def main(dataset: Path, out: Path, plan: dict[str, Any]) -> None:
    """Run the plan; OUT.json appears last, so that what is there is complete."""
    torch.set_num_threads(1)
    logging.getLogger("lookalike").setLevel(logging.ERROR)
    table, scratch = lookalike.read_table(dataset), out.with_suffix(".run")
    shutil.rmtree(scratch, ignore_errors=True)
    if plan["method"] in PEERS:
        model, found = train_other(table, plan)
    else:
        model, found = train_ours(dataset, scratch, plan)
    if plan["stage"] == "test":
        values, queries = score(model, table.split("test"))
        found |= values
        found["queries"] = f"{out.stem}.parquet"
        replace_file(out.with_name(found["queries"]), queries.write_parquet)
    shutil.rmtree(scratch, ignore_errors=True)
    write_text(out, json.dumps({**plan, **found, "date": time.strftime("%Y-%m-%d")}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
