import json

import numpy as np
import polars as pl
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import average_precision_score, roc_auc_score

from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.retrieval import SelfRetrieval
from lookalike.ranking import rank
from lookalike.ranking.task import RankingSettings

FEW = {"intervals": False}


def random_vectors(images=240, identities=30, dim=16, noise=1.5, seed=0):
    """Vectors around a centre for each identity, and their labels; some identities may be alone."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, images)
    centres = rng.standard_normal((identities, dim))
    return (centres[labels] + noise * rng.standard_normal((images, dim))).astype(np.float32), labels


def values(found):
    return {name: value["value"] for name, value in found.metrics.items()}


def by_hand(vectors, labels, ks=(1, 5, 10)):
    """Retrieval by loops in float64, query by query, as the definitions say."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similarities = unit @ unit.T
    found = {}
    for query, label in enumerate(labels):
        others = [row for row in range(len(labels)) if row != query]
        others.sort(key=lambda row, query=query: (-similarities[query, row], row))
        relevant = np.array([labels[row] == label for row in others])
        total = relevant.sum()
        if not total:
            continue
        precision = np.cumsum(relevant) / np.arange(1, len(others) + 1)
        for k in ks:
            found.setdefault(f"recall@{k}", []).append(relevant[:k].any())
            found.setdefault(f"precision@{k}", []).append(relevant[:k].sum() / k)
        found.setdefault("r_precision", []).append(relevant[:total].mean())
        found.setdefault("map@r", []).append((precision * relevant)[:total].sum() / total)
        found.setdefault("map", []).append(precision[relevant].mean())
    return {name: np.mean(column) for name, column in found.items()}


def pairs_by_hand(vectors, labels):
    """Similarities of all pairs, positive and negative."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    one, other = np.triu_indices(len(unit), 1)
    similarities, same = (unit[one] * unit[other]).sum(axis=1), labels[one] == labels[other]
    return similarities[same], similarities[~same]


@pytest.mark.parametrize("identities", [2, 30, 200])
def test_retrieval_equals_loops_over_the_definitions(identities):
    vectors, labels = random_vectors(identities=identities)
    found = values(evaluate(vectors, labels, **FEW))
    expected = by_hand(vectors, labels)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("identities", [3, 40])
def test_retrieval_equals_pytorch_metric_learning(identities):
    vectors, labels = random_vectors(images=400, identities=identities)
    names = {
        "precision_at_1": "precision@1",
        "r_precision": "r_precision",
        "mean_average_precision_at_r": "map@r",
    }
    calculator = AccuracyCalculator(include=tuple(names), k="max_bin_count", device=torch.device("cpu"))
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors))
    expected = calculator.get_accuracy(unit, torch.from_numpy(labels))
    found = values(evaluate(vectors, labels, **FEW))
    for theirs, ours in names.items():
        assert found[ours] == pytest.approx(expected[theirs], abs=1e-6)


def test_average_precision_equals_scikit_learn():
    vectors, labels = random_vectors()
    found = evaluate(vectors, labels, **FEW).per_query["map"].to_list()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for query in range(0, len(labels), 17):
        others = np.arange(len(labels)) != query
        expected = average_precision_score((labels == labels[query])[others], (unit @ unit[query])[others])
        assert found[query] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("exact", [True, False])
def test_verification_equals_loops_over_all_pairs(exact, monkeypatch):
    if not exact:
        monkeypatch.setattr(rank, "SETTINGS", RankingSettings(max_direct=0))
    vectors, labels = random_vectors(images=300, identities=20)
    positive, negative = pairs_by_hand(vectors, labels)
    found = values(evaluate(vectors, labels, far=0.01, **FEW))
    order = np.sort(negative)[::-1]
    threshold = order[int(0.01 * len(order))]
    assert found["threshold@far=0.01"] == pytest.approx(threshold, abs=1e-6)
    assert found["tar@far=0.01"] == pytest.approx((positive > threshold).mean(), abs=1e-6)
    right = (positive > threshold).sum() + (negative <= threshold).sum()
    assert found["accuracy"] == pytest.approx(right / (len(positive) + len(negative)), abs=1e-6)
    same = np.repeat([1, 0], [len(positive), len(negative)])
    assert found["auc"] == pytest.approx(roc_auc_score(same, np.concatenate([positive, negative])), abs=1e-6)
    for kind, similarities in (("positive", positive), ("negative", negative)):
        euclidean = np.sqrt(2 - 2 * similarities)
        assert found[f"{kind}_similarity_mean"] == pytest.approx(similarities.mean(), abs=1e-6)
        assert found[f"{kind}_similarity_std"] == pytest.approx(similarities.std(), abs=1e-6)
        assert found[f"{kind}_euclidean_mean"] == pytest.approx(euclidean.mean(), abs=1e-6)
        assert found[f"{kind}_euclidean_std"] == pytest.approx(euclidean.std(), abs=1e-6)


def test_order_of_images_does_not_matter():
    vectors, labels = random_vectors()
    order = np.random.default_rng(1).permutation(len(labels))
    assert values(evaluate(vectors[order], labels[order], **FEW)) == pytest.approx(
        values(evaluate(vectors, labels, **FEW)), abs=1e-6
    )


def test_rotation_and_length_do_not_matter():
    vectors, labels = random_vectors()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0]
    turned = vectors @ rotation * np.random.default_rng(2).uniform(0.1, 10, (len(vectors), 1))
    assert values(evaluate(turned, labels, **FEW)) == pytest.approx(
        values(evaluate(vectors, labels, **FEW)), abs=1e-5
    )


@pytest.mark.parametrize(
    "renamed",
    [
        lambda labels: 1000 - labels,
        lambda labels: [f"identité {label}" for label in labels],
        lambda labels: labels + (2**63 - 100),
        lambda labels: (labels.astype(np.uint64) + np.uint64(2**64 - 100)).tolist(),
        lambda labels: pl.Series(labels.astype(str)),
        lambda labels: torch.from_numpy(labels) - 2**62,
    ],
)
def test_names_of_identities_do_not_matter(renamed):
    """Ids above 2^24 or 2^53 that differ by one would be one identity as floats."""
    vectors, labels = random_vectors()
    found = evaluate(vectors, renamed(labels), **FEW)
    assert values(found) == pytest.approx(values(evaluate(vectors, labels, **FEW)), abs=1e-12)


def test_blocks_and_threads_do_not_matter(monkeypatch):
    vectors, labels = random_vectors(images=500)
    whole = evaluate(vectors, labels, **FEW)
    settings = RankingSettings(max_direct=0, tile=96, block_bytes=16 * 500 * 8)
    monkeypatch.setattr(rank, "SETTINGS", settings)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        parts = evaluate(vectors, labels, **FEW)
    finally:
        torch.set_num_threads(before)
    assert values(parts) == pytest.approx(values(whole), abs=1e-12)
    for column in ("row", "label", "neighbours", "scores"):
        assert parts.per_query[column].equals(whole.per_query[column])


def test_copies_are_ordered_by_row_and_itself_is_never_its_neighbour():
    vectors, labels = random_vectors(images=60)
    vectors[[10, 20, 30, 59]] = vectors[10]
    labels[[10, 20, 30, 59]] = [1, 2, 1, 3]
    found = evaluate(vectors, labels, neighbours=3, **FEW).per_query
    neighbours = {row: found["neighbours"][row].to_list() for row in (10, 20, 30, 59)}
    assert neighbours == {10: [20, 30, 59], 20: [10, 30, 59], 30: [10, 20, 59], 59: [10, 20, 30]}
    assert found["recall@1"][10] == 0
    assert found["recall@1"][30] == 1
    for row, others in enumerate(found["neighbours"].to_list()):
        assert row not in others


def test_a_collapsed_model_scores_by_row_order():
    found = evaluate(np.ones((6, 4)), ["a", "b", "a", "b", "a", "b"], far=0.5, **FEW)
    assert found.per_query["neighbours"][0].to_list() == [1, 2, 3, 4, 5]
    assert found.metrics["auc"]["value"] == 0.5
    assert found.metrics["tar@far=0.5"]["value"] == 0
    assert found.metrics["positive_euclidean_mean"]["value"] == 0


def test_neighbours_and_metrics_agree():
    vectors, labels = random_vectors()
    found = evaluate(vectors, labels, **FEW).per_query
    first = labels[[row[0] for row in found["neighbours"].to_list()]]
    scored = found["recall@1"].is_not_null()
    assert ((first == labels) == (found["recall@1"] == 1).to_numpy())[scored.to_numpy()].all()
    assert found["neighbours"].list.len().unique().to_list() == [10]
    assert found["scores"].list.eval(pl.element().diff().max()).explode().max() <= 0


def test_lone_queries_are_left_out_counted_and_said():
    vectors = np.array([[1, 0], [1, 0.1], [0.9, 0], [0, 1]])
    found = evaluate(vectors, ["a", "a", "b", "c"], coarse_far=True)
    assert (found.queries, found.lone_queries) == (2, 2)
    assert found.per_query["recall@1"].is_null().to_list() == [False, False, True, True]
    assert (
        found.metrics["recall@1"]["value"] == 0.5
    )  # the lone b is still in the gallery, nearest to the first a
    assert any("no other image" in note and ": 2" in note for note in found.notes)


def test_intervals_hold_the_value_and_follow_the_seed():
    vectors, labels = random_vectors(images=600, identities=60)
    found, again, other = (evaluate(vectors, labels, seed=seed).metrics for seed in (0, 0, 1))
    assert found == again != other
    for name in ("recall@1", "precision@5", "map@r", "r_precision", "map", "auc", "tar@far=0.001"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_one_class_has_no_verification_and_no_interval_and_says_so():
    found = evaluate(np.random.default_rng(0).standard_normal((5, 3)), [7] * 5)
    assert found.metrics["recall@1"] == found.metrics["map"] == {"value": 1.0}
    assert "auc" not in found.metrics
    assert "negative_similarity_mean" not in found.metrics
    assert [note[:12] for note in found.notes] == ["no intervals", "no verificat"]


def test_a_far_finer_than_the_pairs_is_absent_and_said_unless_asked():
    vectors, labels = random_vectors(images=30, identities=5)
    found = evaluate(vectors, labels, far=1e-4)
    assert "tar@far=0.0001" not in found.metrics
    assert "accuracy" not in found.metrics
    assert "auc" in found.metrics
    assert found.distances["threshold"] is None
    assert "negative pairs show no rate below" in found.notes[0]
    asked = evaluate(vectors, labels, far=1e-4, coarse_far=True)
    assert asked.metrics["tar@far=0.0001"]["value"] >= 0
    assert asked.notes == []


def test_k_beyond_the_gallery():
    found = evaluate(np.eye(3) + 1, ["a", "a", "a"], ks=[2, 100], **FEW)
    assert found.metrics["recall@100"]["value"] == 1
    assert found.metrics["precision@100"]["value"] == 0.02


@pytest.mark.parametrize(
    ("vectors", "labels", "more", "said"),
    [
        ([[1.0], [np.nan]], [1, 1], {}, "not finite.* row 1"),
        ([[1.0], [0.0]], [1, 1], {}, "zero.* row 1"),
        ([[1.0], [2.0]], [1], {}, "1 of them for 2 vectors"),
        ([1.0, 2.0], [1, 1], {}, "a matrix"),
        ([[1.0], [2.0]], [1.0, 1.0], {}, "labels"),
        ([[1.0], [2.0]], [1, 2], {}, "2 identities, none with two images"),
        (np.empty((0, 3)), [], {}, "none with two images"),
        ([[1.0], [2.0]], [1, 1], {"ks": [0]}, "ks="),
        ([[1.0], [2.0]], [1, 1], {"ks": []}, "ks="),
        ([[1.0], [2.0]], [1, 1], {"far": 1.0}, "far="),
        ([[1.0], [2.0]], [1, 1], {"neighbours": 0}, "neighbours="),
    ],
)
def test_what_cannot_be_evaluated_is_refused(vectors, labels, more, said):
    with pytest.raises(ValueError, match=said):
        evaluate(vectors, labels, **more)


def test_the_summary_is_flat_plain_json():
    vectors, labels = random_vectors()
    summary = json.loads(json.dumps(evaluate(vectors, labels).summary(skipped=2)))
    assert set(summary["recall@1"]) == {"value", "low", "high"}
    assert summary["skipped"] == 2
    assert summary["queries"] + summary["lone_queries"] == 240
    assert summary["protocol"] == SelfRetrieval().hash


def test_a_rule_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="protocol: ties='random': it is 'lower_row'"):
        SelfRetrieval(ties="random")


def test_memory_grows_with_the_number_of_images_and_not_with_its_square(monkeypatch):
    """One identity is the worst case: every image is relevant to every other."""
    import tracemalloc

    limits = {"max_direct": 0, "max_stored_pairs": 0, "max_stored_positives": 0}
    monkeypatch.setattr(rank, "SETTINGS", RankingSettings(tile=256, block_bytes=1 << 18, **limits))
    peaks = []
    for images in (600, 2400):
        vectors = np.random.default_rng(0).standard_normal((images, 8)).astype(np.float32)
        tracemalloc.start()
        evaluate(vectors, np.zeros(images, int), **FEW)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0]  # four times the images; the square would be sixteen times


@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("size", [600, 1500])
def test_nearly_equal_vectors_rank_as_their_true_cosines(noise, kind, size):
    """Against cosines in 80 bits, for whole rankings (few vectors) and for candidates (more)."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal(64) + noise * rng.standard_normal((size, 64))).astype(kind)
    found = evaluate(vectors, np.arange(size) % 50, intervals=False, neighbours=3)
    long = vectors.astype(np.longdouble)
    long /= np.sqrt((long**2).sum(axis=1))[:, None]
    cosines = (1 - ((long[:200, None] - long) ** 2).sum(axis=2) / 2).astype(np.longdouble)
    cosines[np.arange(200), np.arange(200)] = -2
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :3]
    near = np.array(found.per_query["neighbours"].to_list())[:200]
    assert (near == order).mean() > 0.995


def test_copies_have_a_cosine_of_one_and_pass_their_own_threshold():
    vectors = np.random.default_rng(0).standard_normal((300, 37)).astype(np.float32).repeat(2, axis=0)
    found = evaluate(vectors, np.arange(600) // 2, intervals=False)
    assert abs(found.metrics["positive_similarity_mean"]["value"] - 1) < 1e-13
    assert found.metrics["threshold@far=0.001"]["value"] <= 1
    assert found.metrics["tar@far=0.001"]["value"] == 1


def test_float64_vectors_are_not_cut_to_float32():
    rng = np.random.default_rng(0)
    vectors = 1 + 1e-6 * rng.standard_normal((60, 16))
    vectors[1::2] = vectors[::2] + 1e-8 * rng.standard_normal((30, 16))
    for each in (vectors, torch.from_numpy(vectors), vectors.tolist()):
        assert evaluate(each, np.arange(60) // 2, intervals=False).metrics["recall@1"]["value"] == 1
