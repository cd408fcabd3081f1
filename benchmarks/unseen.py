"""The default recipe on real sets: retrieval of classes never seen in training, against the frozen
backbone.

LOOKALIKE_DATA=… python benchmarks/unseen.py [set …] [key=value …] [seeds=N]

Sets are folders of LOOKALIKE_DATA with a table.csv that brings its split; emoji if none is named. Keys
change the recipe, as on the command line. Goal on emoji: recall@1 ≥ 0.62 and MAP@R ≥ 0.40 in at most 10
minutes on 2 cores.
"""

import sys
import tempfile
import time
from pathlib import Path

import yaml

import lookalike
from _common import data, peak_gib, show
from lookalike.machine import configure_memory

SHOWN = ("recall@1", "map@r")


def scores(model: lookalike.EmbeddingModel, table: lookalike.Table) -> dict[str, dict[str, float]]:
    """Metrics with intervals on the test rows."""
    embeddings = lookalike.embed(model, table, progress=False)
    return lookalike.evaluate(embeddings.vectors, embeddings.table.labels).metrics


def words(metric: dict[str, float]) -> str:
    """A metric with its interval, in per cent."""
    return f"{100 * metric['value']:.1f} [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"


def main(arguments: list[str]) -> None:
    """Train the defaults on each set and print a row for each seed."""
    pairs = (argument.split("=", 1) for argument in arguments if "=" in argument)
    keys = {key: yaml.safe_load(value) for key, value in pairs}
    sets = [argument for argument in arguments if "=" not in argument] or ["emoji"]
    seeds = int(keys.pop("seeds", 1))
    configure_memory()
    rows = []
    for name in sets:
        folder = data(name)
        test = lookalike.read_table(folder).split("test")
        with tempfile.TemporaryDirectory() as scratch:
            changes = {key: value for key, value in keys.items() if key == "image_size"}
            frozen = lookalike.train(
                folder, Path(scratch) / "frozen", epochs=0, head="none", val_share=0, **changes
            )
            before = scores(lookalike.load(frozen), test)
            rows.append([name, "frozen", *(words(before[metric]) for metric in SHOWN), "", ""])
            for seed in range(seeds):
                started = time.perf_counter()
                run = lookalike.train(folder, Path(scratch) / f"run{seed}", seed=seed, progress=False, **keys)
                minutes = (time.perf_counter() - started) / 60
                found = scores(lookalike.load(run), test)
                row = [name, f"seed {seed}", *(words(found[metric]) for metric in SHOWN)]
                rows.append([*row, f"{minutes:.1f}", f"{peak_gib():.1f}"])
                print(" | ".join(rows[-1]), flush=True)
    title = "Classes never seen, per cent, 95 % intervals" + (f", {keys}" if keys else "")
    show(title, ["set", "model", *SHOWN, "minutes of training", "peak GiB"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
