"""Whether the promised rate of strangers that are given a name is kept, and what poison does.

    python benchmarks/identify.py [rates] [poison] [set=synthetic] [set=emoji] [draws=20]

- `rates`: the threshold is chosen on 300 validation identities for a rate of 1 % and 5 %, in galleries of
  10, 30, 100 and 300 other identities with two photos each; all remaining identities are strangers. Printed
  are the rate that is observed on average over draws of all three (and over as many galleries as 300
  identities make), the promised one, and its interval on average. Goal: the observed rate is inside it.
- `poison`: 50 identities of three emoji, of which 10 % are blurred or show someone else. Rates with all of
  them enrolled (gate off) and with photos that the gate remarks on left out; what the gate and `index
  health` find.

`synthetic` are vectors with groups of similar identities and with noise of unequal strength, `emoji` those of
EfficientNet-Lite0 with ImageNet weights.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageFilter

import lookalike
from _common import data, show
from lookalike.clean.spaces import default_judge
from lookalike.data.table import Table
from lookalike.evaluation.identification import choose_identification_point
from lookalike.search.gate import check_enrolment
from lookalike.search.health import gallery_health

GALLERIES = (10, 30, 100, 300)
VALIDATION = 300
ENROLLED = 2


def main(words: list[str]) -> None:
    keys = [word.split("=", 1) for word in words if "=" in word]
    sets = [value for key, value in keys if key == "set"] or ["synthetic", "emoji"]
    draws = int(dict(keys).get("draws", 20))
    sections = [word for word in words if word in ("rates", "poison")] or ["rates", "poison"]
    for name in sets if "rates" in sections else []:
        measure_rates(name, *(synthetic() if name == "synthetic" else emoji()), draws)
    if "poison" in sections:
        measure_poison()


def synthetic(identities: int = 1200, dim: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Identities in 60 groups, with two to eight photos of unequal quality."""
    rng = np.random.default_rng(0)
    centres = 0.7 * rng.normal(size=(60, dim))[rng.integers(0, 60, identities)] + rng.normal(
        size=(identities, dim)
    )
    labels = np.repeat(np.arange(identities), rng.integers(2, 9, identities))
    noise = 0.5 * rng.lognormal(0, 0.4, len(labels))[:, None] * rng.normal(size=(len(labels), dim))
    return _unit(centres[labels] + noise), labels


def emoji() -> tuple[np.ndarray, np.ndarray]:
    folder = data("emoji")
    frame = pl.read_csv(folder / "table.csv", infer_schema_length=None).filter(pl.col("split") == "test")
    table = Table(frame.select("path", "label", "split"), folder)
    embeddings = lookalike.embed(default_judge(), table, progress=False)
    labels = np.unique(embeddings.table.labels, return_inverse=True)[1]
    counts = np.bincount(labels)
    kept = counts[labels] >= ENROLLED
    return embeddings.vectors[kept], np.unique(labels[kept], return_inverse=True)[1]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure_rates(name: str, unit: np.ndarray, labels: np.ndarray, draws: int) -> None:
    identities = int(labels.max()) + 1
    rows = []
    for fpir in (0.01, 0.05):
        for gallery in GALLERIES:
            results = np.array([_one_draw(unit, labels, fpir, gallery, seed) for seed in range(draws)])
            observed, low, high, promised, tpir = results.mean(0)
            error = results[:, 0].std(ddof=1) / draws**0.5
            covered = np.mean((results[:, 1] <= observed) & (observed <= results[:, 2]))
            rows.append(
                [
                    *(
                        gallery,
                        f"{100 * fpir:g} %",
                        f"{100 * promised:.2f} % [{100 * low:.2f}, {100 * high:.2f}]",
                    ),
                    *(
                        f"{100 * observed:.2f} ± {100 * error:.2f} %",
                        f"{100 * covered:.0f} %",
                        f"{100 * tpir:.1f} %",
                    ),
                ]
            )
    show(
        f"FPIR on {name} vectors: {identities:,} identities, {VALIDATION} for validation, {draws} draws",
        ["enrolled", "requested", "promised", "observed", "intervals with the mean observed rate", "TPIR"],
        rows,
    )


def _one_draw(
    unit: np.ndarray, labels: np.ndarray, fpir: float, gallery: int, seed: int
) -> tuple[float, ...]:
    """Observed rate, ends of the interval, promised rate, and rate of enrolled identities that are found.

    The observed rates are means over as many galleries as 300 of the remaining identities make.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(labels.max()) + 1)
    number = _number_photos(labels, rng)
    validation = np.isin(labels, order[:VALIDATION])
    point = choose_identification_point(unit[validation], labels[validation], [ENROLLED] * gallery, fpir)
    starts = range(VALIDATION, VALIDATION + 300, gallery)
    rates = [
        _rates(unit, labels, number, validation, order[start : start + gallery], point.threshold)
        for start in starts
    ]
    observed, tpir = np.nanmean(rates, axis=0)
    return float(observed), point.fpir_low, point.fpir_high, point.fpir, float(tpir)


def _number_photos(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The number of each photo among those of its identity, in random order."""
    order = np.lexsort((rng.random(len(labels)), labels))
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))[:-1]])
    number = np.empty(len(labels), np.int64)
    number[order] = np.arange(len(labels)) - starts[labels[order]]
    return number


def _rates(
    unit: np.ndarray,
    labels: np.ndarray,
    number: np.ndarray,
    validation: np.ndarray,
    identities: np.ndarray,
    threshold: float,
) -> tuple[float, float]:
    """Share of strangers that are given a name in a gallery, and of photos of enrolled identities found."""
    is_member = np.isin(labels, identities)
    enrolled, stranger = is_member & (number < ENROLLED), ~is_member & ~validation
    probe = is_member & ~enrolled
    named = (unit[stranger] @ unit[enrolled].T).max(1) >= threshold
    counts = np.bincount(labels[stranger])
    share = np.bincount(labels[stranger], named)[counts > 0] / counts[counts > 0]
    cosine = unit[probe] @ unit[enrolled].T
    right = (labels[enrolled][cosine.argmax(1)] == labels[probe]) & (cosine.max(1) >= threshold)
    return float(share.mean()), float(right.mean()) if probe.any() else np.nan


def measure_poison() -> None:
    """Poisoned galleries: 50 identities of three photos, 15 of the 150 photos are wrong or blurred."""
    folder, rng = data("emoji"), np.random.default_rng(0)
    frame = pl.read_csv(folder / "table.csv", infer_schema_length=None).filter(pl.col("split") == "test")
    model = default_judge()
    groups = {
        label[0]: part["path"].to_list() for label, part in frame.group_by("label", maintain_order=True)
    }
    labels = [label for label in groups if len(groups[label]) >= 4]
    labels = [labels[row] for row in rng.permutation(len(labels))]
    enrolled, held_out, strangers = labels[:50], labels[50:200], labels[200:450]
    validation = _embed(model, folder, [path for label in held_out for path in groups[label]])
    validation = (validation, np.repeat(np.arange(len(held_out)), [len(groups[label]) for label in held_out]))
    probes = _embed(model, folder, [path for label in strangers for path in groups[label]])
    numbers = np.repeat(np.arange(len(strangers)), [len(groups[label]) for label in strangers])
    rows = []
    for kind in ("blurred", "wrong"):
        with tempfile.TemporaryDirectory() as temporary:
            photos = [folder / path for label in enrolled for path in groups[label][:3]]
            names = np.repeat(enrolled, 3)
            poisoned = np.sort(rng.permutation(len(photos))[: len(photos) // 10])
            for row in poisoned.tolist():
                other = strangers[int(rng.integers(len(strangers)))]
                photos[row] = _poison(
                    photos[row], kind, folder / groups[other][0], Path(temporary) / f"{row}.png"
                )
            vectors = _embed(model, Path("/"), [str(photo) for photo in photos])
            flagged = _check(photos, vectors, names, validation)
            index = lookalike.Index.build(vectors, names)
            listed = gallery_health(index, validation=validation).problems["row"].to_numpy()
            clean = np.setdiff1d(np.arange(len(photos)), poisoned)
            rates = [
                _rate(vectors[kept], names[kept], validation, probes, numbers)
                for kept in (clean, np.arange(len(photos)), np.setdiff1d(np.arange(len(photos)), flagged))
            ]
            rows.append(
                [
                    kind,
                    *(f"{100 * rate:.2f} %" for rate in rates),
                    f"{len(np.intersect1d(flagged, poisoned))} of {len(poisoned)}",
                    f"{len(np.setdiff1d(flagged, poisoned))} of {len(clean)}",
                    f"{len(np.intersect1d(listed, poisoned))}, {len(np.setdiff1d(listed, poisoned))}",
                ]
            )
    show(
        "Poisoned gallery: share of strangers that are given a name; 1 % was requested",
        [
            "10 % are",
            "without them",
            "gate off",
            "gate=refuse",
            "poison refused",
            "good refused",
            "listed by health",
        ],
        rows,
    )


def _embed(model, folder: Path, paths: list[str]) -> np.ndarray:
    table = Table(pl.DataFrame({"path": paths, "label": "?", "split": "test"}), folder)
    return lookalike.embed(model, table, progress=False).vectors


def _poison(photo: Path, kind: str, other: Path, target: Path) -> Path:
    if kind == "wrong":
        return other
    Image.open(photo).convert("RGB").filter(ImageFilter.GaussianBlur(6)).save(target)
    return target


def _check(photos: list[Path], vectors: np.ndarray, names: np.ndarray, validation) -> np.ndarray:
    """Photos that the gate remarks on, as identities are enrolled one after another."""
    flagged = list[int]()
    for start in range(0, len(photos), 3):
        rows = np.arange(start, start + 3)
        index = lookalike.Index.build(vectors[: max(start, 3)], names[: max(start, 3)])
        files = [str(photos[row]) for row in rows]
        remarks = check_enrolment(index, files, vectors[rows], str(names[start]), validation) if start else []
        flagged += [start + remark.photo for remark in remarks]
    return np.unique(flagged).astype(np.int64)


def _rate(
    vectors: np.ndarray, names: np.ndarray, validation, probes: np.ndarray, numbers: np.ndarray
) -> float:
    """The share of strangers that are given a name, at the threshold for this gallery."""
    photos = np.unique(names, return_counts=True)[1]
    point = choose_identification_point(*validation, photos, 0.01)
    named = (probes @ vectors.T).max(1) >= point.threshold
    return float((np.bincount(numbers, named) / np.bincount(numbers)).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
