"""Which loss? All of them, the defaults and peers on the same images for the same processor time.

LOOKALIKE_DATA=… python benchmarks/study.py OUT [quick] [data=…] [workers=1] [seeds=2] [set …] [loss …]

The sets are those of get_study_data.py and are built in `data` (OUT/data) if they are not there. A run trains
EfficientNet-Lite0 on one thread: `quick` at 32 px for 4 epochs, with a few losses on three sets and no search
(estimate: 15 minutes on two idle cores with workers=2), otherwise at 48 px for 12 epochs, with every loss on
all sets (estimate: 3 hours). Each run leaves a file in OUT/runs, so a study that was stopped goes on with the
same command; delete a file to repeat its run.

1. The defaults on each set. Their mean processor time is what each peer may use; losses get as many epochs
   as the defaults, and their time is in the table.
2. Search: for each method the learning rates of the defaults, three times those, and half and twice its
   margin if it has one, by map@r on held-out training identities of the first set.
3. Every method on each set; the best ten losses, and peers, with `seeds` seeds.

Writes OUT/study.json (`python docs/make_study.py OUT/study.json` puts it on docs/losses.md) and prints the
table: means over seeds, and the difference from the defaults with 95 % intervals over identities and seeds.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import lookalike
from _study_peers import PEERS
from _study_table import print_tables, summarise
from get_study_data import SETS, build

CONF = Path(lookalike.__file__).parent / "conf" / "loss"
DEFAULTS, FROZEN = "defaults", "frozen"
QUICK_SETS = ["emoji", "fashion", "glyphs"]
QUICK_LOSSES = [
    "multi_similarity",
    "recall_at_k",
    "smooth_ap",
    "sup_con",
    "triplet",
    "proxy_anchor",
    "arcface",
]
LEADERS = 10
RATES = {"backbone_lr": 0.0003, "lr": 0.001}


def loss_names() -> list[str]:
    """Losses that can stand alone."""
    files = sorted(CONF.glob("*.yaml"))
    return [file.stem for file in files if "# Data: beside another loss" not in file.read_text("utf-8")]


def margin_of(loss: str) -> float | None:
    """The default of its key `margin`."""
    file = CONF / f"{loss}.yaml"
    return yaml.safe_load(file.read_text("utf-8"))[loss].get("margin") if file.exists() else None


class Study:
    """A folder of runs.

    Args:
        out: the folder.
        sets: folder of each dataset.
        image_size: side of the input.
        workers: runs at the same time.
        quick: few epochs, and no search.
    """

    def __init__(self, out: Path, sets: dict[str, Path], image_size: int, workers: int, quick: bool) -> None:
        self.out, self.sets, self.image_size, self.workers = out, sets, image_size, workers
        self.epochs, self.search_epochs = (4, 0) if quick else (12, 6)
        self.runs: list[dict[str, Any]] = []

    def run(self, plans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Do what is not done yet, several at a time; a run that fails is reported and left out."""
        with ThreadPoolExecutor(self.workers) as pool:
            done = [each for each in pool.map(self._run_one, plans) if each is not None]
        self.runs += [each for each in done if each["stage"] == "test"]
        return done

    def _run_one(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        words = [plan["stage"], plan["set"], plan["method"], plan["variant"], f"seed {plan['seed']}"]
        name = re.sub(r"[^a-z0-9@.]+", "_", " ".join(word for word in words if word))
        file = self.out / "runs" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            script = str(Path(__file__).with_name("_study_run.py"))
            command = [sys.executable, script, str(self.sets[plan["set"]]), str(file), json.dumps(plan)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            ended = subprocess.run(command, env=environment, capture_output=True, text=True)
            if ended.returncode or not file.exists():
                print(
                    f"{name} failed: {(ended.stderr or ended.stdout).strip().splitlines()[-1:]}", flush=True
                )
                return None
            print(f"{name}: {json.loads(file.read_text())['seconds']:.0f} s", flush=True)
        return json.loads(file.read_text())

    def plan(self, name: str, method: str, seed: int = 0, **changes: Any) -> dict[str, Any]:
        """One run of a method on the set `name`."""
        keys: dict[str, Any] = {"epochs": self.epochs}
        if method == FROZEN:
            keys = {"epochs": 0, "head": "none", "val_share": 0}
        elif method != DEFAULTS and method not in PEERS:
            keys["loss"] = method
        base = {"stage": "test", "set": name, "method": method, "variant": "", "seed": seed, "rate": 1}
        return {**base, "image_size": self.image_size, "seconds": 0.0, "keys": keys, **changes}

    def search(self, methods: list[str], seconds: float) -> dict[str, dict[str, Any]]:
        """The changes of each method that are best on held-out identities of the first set."""
        if not self.search_epochs:
            return {}
        first, plans = next(iter(self.sets)), []
        for method in methods:
            share = seconds * self.search_epochs / self.epochs
            for variant, changes in self._variants(method).items():
                plan = self.plan(first, method, stage="search", variant=variant, seconds=share)
                plan["rate"] = changes.get("rate", 1)
                plan["keys"] |= {"val_share": 0.25, **changes.get("keys", {})}
                if method not in PEERS:
                    plan["keys"]["epochs"] = self.search_epochs
                plans.append(plan)
        found = self.run(plans)
        best = {}
        for method in methods:
            tried = [each for each in found if each["method"] == method]
            if tried:
                chosen = max(tried, key=lambda each: each["validation"] or 0)
                best[method] = {"variant": chosen["variant"], **self._variants(method)[chosen["variant"]]}
        return best

    def _variants(self, method: str) -> dict[str, dict[str, Any]]:
        margin = None if method in PEERS else margin_of(method)
        fast = {"rate": 3, "keys": {} if method in PEERS else {k: 3 * v for k, v in RATES.items()}}
        variants: dict[str, dict[str, Any]] = {"": {}, "3 × rate": fast}
        for factor, words in ((0.5, "margin / 2"), (2, "2 × margin")):
            if isinstance(margin, float) and margin * factor <= 1:
                variants[words] = {"keys": {f"loss.{method}.margin": margin * factor}}
        return variants

    def test(
        self, methods: list[str], best: dict[str, dict[str, Any]], seconds: dict[str, float], seeds: range
    ) -> None:
        """Every method on every set."""
        plans = []
        for name in self.sets:
            for method in methods:
                changes = best.get(method, {})
                for seed in seeds:
                    plan = self.plan(name, method, seed, seconds=seconds.get(name, 0.0))
                    plan["rate"] = changes.get("rate", 1)
                    plan["variant"] = changes.get("variant", "")
                    plan["keys"] |= changes.get("keys", {})
                    plans.append(plan)
        self.run(plans)

    def leaders(self, methods: list[str]) -> list[str]:
        """The ten methods with the highest mean map@r over the sets, of those that have all."""
        means = {}
        for method in methods:
            found = [run["map@r"] for run in self.runs if run["method"] == method and run["seed"] == 0]
            if len(found) == len(self.sets):
                means[method] = float(np.mean(found))
        return sorted(means, key=lambda method: -means[method])[:LEADERS]


def main(words: list[str]) -> None:
    """See the top of this file."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    out, names = Path(words[0]), [word for word in words[1:] if "=" not in word]
    quick = "quick" in names
    chosen = [name for name in names if name in SETS] or (QUICK_SETS if quick else list(SETS))
    data = Path(values.get("data", out / "data"))
    sets = {name: data / name for name in build(data, chosen)}
    size = int(values.get("image_size", 32 if quick else 48))
    study = Study(out, sets, size, int(values.get("workers", 1)), quick)
    seeds = int(values.get("seeds", 1 if quick else 2))
    losses = [name for name in names if name in loss_names()] or (QUICK_LOSSES if quick else loss_names())
    study.test([FROZEN], {}, {}, range(1))
    study.test([DEFAULTS], {}, {}, range(seeds))
    of_defaults = [run for run in study.runs if run["method"] == DEFAULTS]
    seconds = {
        name: float(np.mean([run["seconds"] for run in of_defaults if run["set"] == name])) for name in sets
    }
    best = study.search([*PEERS, *losses], seconds[next(iter(sets))])
    study.test(list(PEERS), best, seconds, range(seeds))
    study.test(losses, best, seconds, range(1))
    if seeds > 1:
        study.test(study.leaders(losses), best, seconds, range(1, seeds))
    summary = summarise(study.runs, out / "runs", best, quick)
    (out / "study.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print_tables(summary)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
