"""PCA, expansion and re-ranking, each against a plain version of its paper."""

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA

from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.pca import Pca
from lookalike.evaluation.protocols.retrieval import QueryGallery, References
from lookalike.evaluation.query_expansion import augment_gallery, expand_queries
from lookalike.evaluation.rerank import KReciprocal
from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.retrieval import average_precision, recall_at
from lookalike.ranking.rank import rank_gallery
from lookalike.ranking.task import RetrievalTask


def random_vectors(images=80, identities=10, dim=8, seed=0, noise=0.8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, images)
    vectors = rng.normal(size=(identities, dim))[labels] + noise * rng.normal(size=(images, dim))
    return unit_vectors(vectors), labels


def test_pca_equals_scikit_learn():
    unit, _ = random_vectors(300)
    theirs = PCA(4).fit(unit)
    ours = Pca.fit(unit, 4)
    turn = np.sign((ours.directions * theirs.components_).sum(axis=1))
    assert ours(unit) == pytest.approx(theirs.transform(unit) * turn, abs=1e-5)
    white = Pca.fit(unit, 4, whiten=1.0)(unit)
    assert white.std(axis=0) == pytest.approx(np.ones(4), abs=1e-4)
    half = Pca.fit(unit, 4, whiten=0.5)(unit)
    assert half.std(axis=0) == pytest.approx(ours.spread**0.5, abs=1e-4)


def test_pca_survives_its_folder_and_says_what_it_cannot(tmp_path):
    unit, _ = random_vectors()
    pca = Pca.fit(unit, 3, 0.5)
    pca.save(tmp_path)
    assert (Pca.load(tmp_path)(unit) == pca(unit)).all()
    with pytest.raises(LookalikeError, match="holds no PCA"):
        Pca.load(tmp_path / "nowhere")
    for dim, whiten, said in (
        (9, 0, "fill 8 dimensions of 8"),
        (0, 0, "pca.dim=0"),
        (2, 1.5, "pca.whiten=1.5"),
    ):
        with pytest.raises(ValueError, match=said):
            Pca.fit(unit, dim, whiten)
    with pytest.raises(ValueError, match="fill 4 dimensions"):
        Pca.fit(unit[:5], 5)
    with pytest.raises(ValueError, match="vectors of 8 numbers, these have 2"):
        pca(unit[:, :2])


def expanded_by_hand(vectors, others, hidden, n, alpha):
    found = []
    for row, vector in enumerate(vectors):
        scores = np.array(
            [-np.inf if hidden(row, other) else vector @ others[other] for other in range(len(others))]
        )
        near = np.argsort(-scores, kind="stable")[:n]
        found.append(vector + sum(max(scores[other], 0) ** alpha * others[other] for other in near))
    return np.array(found) / np.linalg.norm(found, axis=1, keepdims=True)


def test_query_expansion_equals_a_loop():
    unit, labels = random_vectors()
    for sides, gallery, hidden in (
        (RetrievalTask(unit, labels), unit, lambda q, g: q == g),
        (RetrievalTask(unit[:30], labels[:30], unit[30:], labels[30:]), unit[30:], lambda q, g: False),
    ):
        found = expand_queries(sides, 4, 2.0)
        assert found.queries == pytest.approx(
            expanded_by_hand(sides.queries, gallery, hidden, 4, 2.0), abs=1e-6
        )
        assert (found.rows == gallery).all()
    itself = expand_queries(RetrievalTask(unit, labels), 4)
    assert (itself.exclude_row == np.arange(80)).all()


def test_database_augmentation_equals_a_loop_and_refuses_queries_in_the_gallery():
    unit, labels = random_vectors()
    sides = RetrievalTask(unit[:30], labels[:30], unit[30:], labels[30:])
    expected = expanded_by_hand(unit[30:], unit[30:], lambda q, g: q == g, 3, 3.0)
    assert augment_gallery(sides).rows == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="queries are in the gallery"):
        augment_gallery(RetrievalTask(unit, labels))
    with pytest.raises(ValueError, match="n=0"):
        augment_gallery(sides, n=0)


def k_reciprocal_by_hand(queries, gallery, k1, k2, weight):
    """The dense version of the paper: all against all."""
    every = np.concatenate([queries, gallery]).astype(np.float64)
    squared = ((every[:, None] - every[None]) ** 2).sum(axis=2)
    squared /= squared.max(axis=1, keepdims=True)
    order = np.argsort(squared, axis=1, kind="stable")

    def reciprocal(row, k):
        return [other for other in order[row, : k + 1] if row in order[other, : k + 1]]

    code = np.zeros_like(squared)
    for row in range(len(every)):
        first = reciprocal(row, k1)
        members = set(first)
        for other in first:
            theirs = reciprocal(other, round(k1 / 2))
            if len(set(theirs) & set(first)) > 2 / 3 * len(theirs):
                members |= set(theirs)
        members = sorted(members)
        code[row, members] = np.exp(-squared[row, members])
        code[row] /= code[row].sum()
    code = np.stack([code[order[row, :k2]].mean(axis=0) for row in range(len(every))])
    least = np.minimum(code[:, None], code[None]).sum(axis=2)
    most = np.maximum(code[:, None], code[None]).sum(axis=2)
    final = (1 - weight) * (1 - least / most) + weight * squared
    return final[: len(queries), len(queries) :]


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 1, 0.0), (6, 3, 0.8)])
def test_re_ranking_equals_the_dense_version_of_the_paper(k1, k2, weight):
    unit, labels = random_vectors()
    queries, gallery = unit[:25], unit[25:]
    expected = k_reciprocal_by_hand(queries, gallery, k1, k2, weight)
    found = KReciprocal(k1, k2, weight)(
        RetrievalTask(queries, labels[:25], gallery, labels[25:]),
        {"recall": lambda ranking: recall_at(ranking, 1)},
        5,
    )
    order = np.argsort(expected, axis=1)[:, :5]
    assert (found.nearest == order).all()
    assert -found.scores == pytest.approx(np.take_along_axis(expected, order, axis=1), abs=1e-5)
    right = labels[25:][order[:, 0]] == labels[:25]
    assert found.columns["recall"][found.totals > 0].tolist() == right[found.totals > 0].tolist()


def test_re_ranking_among_all_finds_neither_itself_nor_what_is_ignored():
    unit, labels = random_vectors()
    groups = np.random.default_rng(0).integers(0, 3, 80)
    sides = RetrievalTask(unit, labels, query_groups=groups, ignore="identity_in_group")
    found = KReciprocal()(sides, {"map": average_precision}, 79)
    for query in range(80):
        near = found.nearest[query][found.nearest[query] >= 0]
        hidden = (groups == groups[query]) & (labels == labels[query])
        hidden[query] = True
        assert set(near) == set(np.flatnonzero(~hidden))
    plain = rank_gallery(RetrievalTask(unit, labels), {"map": average_precision})
    better = KReciprocal()(RetrievalTask(unit, labels), {"map": average_precision}, 10)
    assert np.nanmean(better.columns["map"]) > np.nanmean(plain.columns["map"])


def test_weight_one_is_the_order_of_the_similarity():
    unit, labels = random_vectors()
    sides = RetrievalTask(unit[:20], labels[:20], unit[20:], labels[20:])
    assert (
        KReciprocal(weight=1.0)(sides, {}, 8).nearest == rank_gallery(sides, {}, neighbours=8).nearest
    ).all()


@pytest.mark.parametrize("wrong", [{"k1": 1}, {"k2": 0}, {"weight": 1.1}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="rerank: k1="):
        KReciprocal(**wrong)


def test_in_an_evaluation():
    unit, labels = random_vectors(200, noise=1.0)
    frame = pl.DataFrame({"role": np.where(np.arange(200) % 3 == 0, "query", "gallery")})
    how = {"frame": frame, "protocol": QueryGallery(), "intervals": False, "far": 0.1}
    plain = evaluate(unit, labels, **how)
    moved = evaluate(unit, labels, refine=[augment_gallery, expand_queries], **how)
    ranked = evaluate(unit, labels, rerank=KReciprocal(), **how)
    assert plain.data == moved.data == ranked.data
    assert moved.metrics["map"]["value"] > plain.metrics["map"]["value"]
    assert ranked.metrics["map"]["value"] > plain.metrics["map"]["value"]
    assert "auc" in moved.metrics
    assert "auc" not in ranked.metrics
    assert any("no verification: re-ranking" in note for note in ranked.notes)
    assert evaluate(unit, labels, protocol=References(per_class=3), refine=[augment_gallery]).queries > 0
