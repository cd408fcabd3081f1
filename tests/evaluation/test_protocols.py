"""Protocols: each against loops over its rules, and the hash of the rules."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import yaml

from lookalike.errors import ConfigError
from lookalike.evaluation.arguments import CONF, rules_of, rules_of_node
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.pairs import PairList
from lookalike.evaluation.protocols.retrieval import (
    KFold,
    MultiView,
    QueryGallery,
    References,
    Reidentification,
    SelfRetrieval,
)
from lookalike.metrics import neighbours, rank_metrics, selection

FEW = {"intervals": False, "far": 0.2}


def random_samples(images=90, identities=12, dim=6, seed=0):
    """Vectors, labels, and columns for every protocol."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, images)
    vectors = rng.standard_normal((identities, dim))[labels] + rng.standard_normal((images, dim))
    frame = pl.DataFrame(
        {
            "path": [f"photos/{label}/{row}.jpg" for row, label in enumerate(labels)],
            "role": rng.choice(["query", "gallery", "both", "distractor"], images, p=[0.3, 0.4, 0.2, 0.1]),
            "group": rng.choice(["north", "south", "east"], images),
            "fold": rng.integers(0, 3, images),
        }
    )
    return vectors, labels, frame


def loops(vectors, labels, queries, gallery, hidden, right=lambda row: True):
    """recall@1, map@r and pairs, image by image.

    Args:
        hidden: whether query q does not find gallery row g.
        right: whether a gallery row may be right for anybody.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    recall, map_r, positive, negative = {}, {}, [], []
    for query in queries:
        rows = [row for row in gallery if row != query and not hidden(query, row)]
        rows.sort(key=lambda row, query=query: (-(unit[query] @ unit[row]), row))
        relevant = np.array([labels[row] == labels[query] and right(row) for row in rows], bool)
        for row, same in zip(rows, relevant, strict=True):
            (positive if same else negative).append(unit[query] @ unit[row])
        if relevant.any():
            total = relevant.sum()
            precision = np.cumsum(relevant) / np.arange(1, len(rows) + 1)
            recall[query] = float(relevant[0])
            map_r[query] = (precision * relevant)[:total].sum() / total
    return recall, map_r, np.array(positive), np.array(negative)


def check(found, expected):
    recall, map_r, positive, negative = expected
    table = found.per_query.filter(pl.col("recall@1").is_not_null())
    assert table["row"].to_list() == list(recall)
    assert table["recall@1"].to_list() == list(recall.values())
    assert table["map@r"].to_list() == pytest.approx(list(map_r.values()), abs=1e-6)
    wins = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert found.metrics["auc"]["value"] == pytest.approx(wins, abs=1e-6)
    assert found.queries == len(recall)


def run(protocol, data, **more):
    vectors, labels, frame = data
    return evaluate(vectors, labels, frame=frame, protocol=protocol, **{**FEW, **more})


@pytest.mark.parametrize("ignore", ["itself", "group", "identity_in_group"])
def test_self_retrieval(ignore):
    vectors, labels, frame = data = random_samples()
    group = frame["group"]
    every = range(len(labels))
    hidden = {
        "itself": lambda q, g: False,
        "group": lambda q, g: group[q] == group[g],
        "identity_in_group": lambda q, g: group[q] == group[g] and labels[q] == labels[g],
    }[ignore]
    check(run(SelfRetrieval(ignore=ignore), data), loops(vectors, labels, every, every, hidden))


@pytest.mark.parametrize("distractors", ["in_gallery", "left_out"])
def test_query_and_gallery_by_role(distractors):
    vectors, labels, frame = data = random_samples()
    role = frame["role"].to_list()
    queries = [row for row, name in enumerate(role) if name in ("query", "both")]
    wanted = ("gallery", "both", "distractor") if distractors == "in_gallery" else ("gallery", "both")
    gallery = [row for row, name in enumerate(role) if name in wanted]
    expected = loops(
        vectors, labels, queries, gallery, lambda q, g: False, lambda row: role[row] != "distractor"
    )
    check(run(QueryGallery(distractors=distractors), data), expected)


def test_neighbours_are_rows_of_the_table():
    vectors, _labels, frame = data = random_samples()
    found = run(QueryGallery(), data).per_query
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    role = frame["role"].to_list()
    for row, near, scores in found.select("row", "neighbours", "scores").iter_rows():
        assert role[row] in ("query", "both")
        assert all(role[other] != "query" and other != row for other in near)
        assert scores == pytest.approx((unit[near] @ unit[row]).tolist(), abs=1e-6)


@pytest.mark.parametrize("roles", [True, False])
def test_reidentification_ignores_the_same_identity_in_the_same_camera_and_junk(roles):
    vectors, labels, frame = random_samples()
    frame = frame if roles else frame.drop("role")
    role = frame["role"].to_list() if roles else ["both"] * len(labels)
    group, junk = frame["group"], {3, 7}
    clean = [row for row in range(len(labels)) if labels[row] not in junk]
    queries = [row for row in clean if role[row] in ("query", "both")]
    gallery = [row for row in clean if role[row] != "query"]
    expected = loops(
        vectors,
        labels,
        queries,
        gallery,
        lambda q, g: labels[q] == labels[g] and group[q] == group[g] and role[g] != "distractor",
        lambda row: role[row] != "distractor",
    )
    check(run(Reidentification(junk=["3", 7]), (vectors, labels, frame)), expected)


@pytest.mark.parametrize("choose", ["first", "random"])
def test_references(choose):
    vectors, labels, _ = data = random_samples()
    protocol = References(per_class=2, choose=choose, seed=3)
    found = run(protocol, data)
    queries = found.per_query["row"].to_list()
    gallery = [row for row in range(len(labels)) if row not in set(queries)]
    assert np.bincount(labels[gallery]).max() <= 2
    if choose == "first":
        for label in np.unique(labels):
            assert [row for row in gallery if labels[row] == label] == np.flatnonzero(labels == label)[
                :2
            ].tolist()
    check(found, loops(vectors, labels, queries, gallery, lambda q, g: False))
    other = run(replace(protocol, seed=4), data).per_query["row"].to_list()
    assert (other == queries) == (choose == "first")


def test_folds_are_evaluated_alone():
    vectors, labels, frame = data = random_samples()
    fold = frame["fold"].to_list()
    order = sorted(range(len(labels)), key=lambda row: (fold[row], row))
    expected = loops(vectors, labels, order, range(len(labels)), lambda q, g: fold[q] != fold[g])
    check(run(KFold(), data), expected)


@pytest.mark.parametrize("gallery", ["images", "groups"])
@pytest.mark.parametrize("roles", [True, False])
def test_views_of_one_thing_look_as_one(gallery, roles):
    vectors, labels, frame = random_samples()
    frame = frame if roles else frame.drop("role")
    role = frame["role"].to_list() if roles else ["both"] * len(labels)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    view = [f"{label} {group}" for label, group in zip(labels, frame["group"], strict=True)]

    def merge_views(rows):
        return {
            name: (unit[[row for row in rows if view[row] == name]].mean(axis=0), name)
            for name in dict.fromkeys(view[row] for row in rows)
        }

    queries = merge_views([row for row in range(len(labels)) if role[row] in ("query", "both")])
    spare = [row for row in range(len(labels)) if role[row] == "distractor"]
    shown = [row for row in range(len(labels)) if role[row] in ("gallery", "both")]
    singles = [(unit[row], view[row]) for row in shown]
    items = singles if gallery == "images" else list(merge_views(shown).values())
    items = [(*item, True) for item in items] + [(unit[row], view[row], False) for row in spare]
    recall = {}
    for name, (mean, _) in queries.items():
        found = [
            (float(mean @ other / np.linalg.norm(other)), right and own.split()[0] == name.split()[0])
            for other, own, right in items
            if own != name
        ]
        if any(right for _, right in found):
            recall[name] = float(max(found)[1])
    result = run(MultiView(gallery=gallery), (vectors, labels, frame))
    table = result.per_query.filter(pl.col("recall@1").is_not_null())
    assert {view[row]: value for row, value in table.select("row", "recall@1").iter_rows()} == recall


def test_a_row_without_a_group_is_a_group_of_its_own():
    vectors, labels, frame = random_samples()
    alone = frame.with_columns(group=pl.lit(None, pl.String))
    ignored = run(SelfRetrieval(ignore="group"), (vectors, labels, alone))
    assert ignored.metrics == run(SelfRetrieval(), (vectors, labels, frame)).metrics


def test_lone_queries_may_count_as_failed():
    vectors, labels, frame = random_samples()
    labels[:5] = np.arange(5) + 100
    out, zero = (run(SelfRetrieval(lone=lone), (vectors, labels, frame)) for lone in ("left_out", "zero"))
    assert (out.queries, zero.queries, out.lone_queries, zero.lone_queries) == (85, 90, 5, 5)
    assert zero.metrics["map@r"]["value"] == pytest.approx(out.metrics["map@r"]["value"] * 85 / 90)
    assert "scored as 0: 5" in " ".join(zero.notes)


def test_the_hash_is_of_all_rules_and_of_nothing_else():
    hashes = [
        SelfRetrieval().hash,
        SelfRetrieval(ignore="group").hash,
        SelfRetrieval(lone="zero").hash,
        QueryGallery().hash,
        References().hash,
        References(seed=1).hash,
        Reidentification(junk=["-1"]).hash,
        MultiView().hash,
        KFold().hash,
    ]
    assert len(set(hashes)) == len(hashes)
    assert SelfRetrieval().hash == SelfRetrieval().hash


def test_the_data_hash_follows_images_and_sides_and_not_their_order():
    vectors, labels, frame = random_samples()
    order = np.random.default_rng(1).permutation(len(labels))
    one = run(QueryGallery(), (vectors, labels, frame)).data
    assert one == run(QueryGallery(), (vectors[order], labels[order], frame[order])).data
    assert one != run(SelfRetrieval(), (vectors, labels, frame)).data
    assert one != run(QueryGallery(), (vectors[:-1], labels[:-1], frame[:-1])).data


@pytest.mark.parametrize(
    ("protocol", "column", "said"),
    [
        (QueryGallery(), "role", "column role: the protocol query_gallery needs it"),
        (Reidentification(), "group", "column group: the protocol reid needs it"),
        (SelfRetrieval(ignore="group"), "group", "column group"),
        (KFold(), "fold", "column fold"),
        (MultiView(), "group", "column group"),
    ],
)
def test_a_column_that_is_not_there_is_named(protocol, column, said):
    vectors, labels, frame = random_samples()
    with pytest.raises(ValueError, match=said):
        run(protocol, (vectors, labels, frame.drop(column)))


def test_wrong_rules_and_wrong_columns_are_refused():
    vectors, labels, frame = random_samples()
    with pytest.raises(ValueError, match="ignore='camera': it is 'itself' or 'group'"):
        SelfRetrieval(ignore="camera")
    with pytest.raises(ValueError, match="per_class=0"):
        References(per_class=0)
    roleless = frame.with_columns(role=pl.when(pl.int_range(90) == 7).then(None).otherwise("role"))
    with pytest.raises(ValueError, match="column role: 1 images have none, the first in row 7"):
        run(QueryGallery(), (vectors, labels, roleless.with_columns(pl.col("role").replace("role", "both"))))
    with pytest.raises(ValueError, match="there is no query image"):
        run(QueryGallery(), (vectors, labels, frame.with_columns(role=pl.lit("gallery"))))
    with pytest.raises(ValueError, match="every label is junk"):
        run(Reidentification(junk=[str(label) for label in range(12)]), (vectors, labels, frame))
    with pytest.raises(ValueError, match="none of 90 queries"):
        apart = frame.with_columns(role=pl.lit("both"), group=pl.lit("one"))
        run(QueryGallery(ignore="group"), (vectors, labels, apart))
    with pytest.raises(ValueError, match="frame: 89 rows for 90 vectors"):
        run(SelfRetrieval(), (vectors, labels, frame[:-1]))


def test_metrics_of_neighbours_and_open_set_identification_by_loops():
    vectors, labels, frame = random_samples(images=200)
    role = np.where(labels < 3, "query", frame["role"].to_numpy())  # three identities are unknown
    frame = frame.with_columns(role=pl.Series(role))
    wanted = {
        **selection.DEFAULT,
        "mrr": rank_metrics.reciprocal_rank,
        "dir_at_far": neighbours.dir_at,
        "knn_at_k": neighbours.knn_at,
        "gap": neighbours.global_average_precision,
    }
    found = run(QueryGallery(distractors="left_out"), (vectors, labels, frame), metrics=wanted, ks=[1, 7])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = [row for row in range(200) if role[row] in ("query", "both")]
    gallery = np.array([row for row in range(200) if role[row] in ("gallery", "both")])
    known = np.isin(labels[queries], labels[gallery])
    first, right, ranks, votes = [], [], [], []
    for query in queries:
        others = gallery[gallery != query]
        order = others[np.argsort(-(unit[others] @ unit[query]), kind="stable")]
        first.append(unit[order[0]] @ unit[query])
        right.append(labels[order[0]] == labels[query])
        places = np.flatnonzero(labels[order] == labels[query])
        ranks.append(1 / (places[0] + 1) if len(places) else np.nan)
        weight = {}
        for row in order[:7]:
            weight[labels[row]] = weight.get(labels[row], 0) + np.exp(unit[row] @ unit[query] / 0.07)
        votes.append(max(weight, key=weight.get) == labels[query])
    first, right, known = np.array(first), np.array(right), ~np.isnan(ranks) & known
    threshold = np.sort(first[~known])[::-1][int(0.2 * (~known).sum())]
    assert found.metrics["mrr"]["value"] == pytest.approx(np.nanmean(ranks))
    assert found.metrics["dir@far=0.2"]["value"] == pytest.approx((right & (first > threshold))[known].mean())
    assert found.metrics["knn@7"]["value"] == pytest.approx(np.array(votes)[known].mean())
    assert found.metrics["knn@1"]["value"] == found.metrics["recall@1"]["value"]
    assert found.per_query["neighbours"].list.len().max() == 10
    assert 0 < found.metrics["gap"]["value"] < 1


def test_by_any_column():
    _vectors, labels, frame = data = random_samples()
    found = run(SelfRetrieval(), data, by=["group", "label"], intervals=True)
    table = found.per_query.with_columns(group=frame["group"])
    for group, queries, value, low, high in (
        found.by["group"].select("group", "queries", "map@r", "map@r_low", "map@r_high").iter_rows()
    ):
        mine = table.filter((pl.col("group") == group) & pl.col("map@r").is_not_null())
        assert queries == len(mine)
        assert value == pytest.approx(mine["map@r"].mean())
        assert low < value < high
    by_label = found.by["label"]
    assert by_label["label"].to_list() == sorted(set(labels.tolist()))
    assert by_label["map@r_low"].null_count() == len(by_label)
    with pytest.raises(ValueError, match=r"by=\[colour\]: there is no such column; there are label, path"):
        run(SelfRetrieval(), data, by=["colour"])


def test_a_list_of_pairs(tmp_path):
    vectors, labels, _frame = data = random_samples()
    rng = np.random.default_rng(0)
    pairs = [(*rng.choice(90, 2, replace=False),) for _ in range(200)]
    lines = [f"photos/{labels[a]}/{a}.jpg,{b}.jpg,{int(labels[a] == labels[b])}" for a, b in pairs]
    (tmp_path / "pairs.csv").write_text("first,second,same\n" + "\n".join(lines))
    found = run(PairList(file=tmp_path / "pairs.csv"), data)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = [unit[a] @ unit[b] for a, b in pairs]
    assert found.per_pair["similarity"].to_list() == pytest.approx(scores, abs=1e-6)
    assert found.per_pair["fold"].to_list() == [pair // 20 for pair in range(200)]
    assert {"auc", "tar@far=0.2", "fold_accuracy", "fold_accuracy_error"} <= set(found.metrics)
    assert "recall@1" not in found.metrics
    assert found.queries == 0


def test_the_hash_of_a_list_is_of_what_it_says(tmp_path):
    for name, text in (("a", "x,y,1"), ("b", "x,y,1"), ("c", "x,y,0")):
        (tmp_path / f"{name}.csv").write_text(text)
    one, again, other = (PairList(file=tmp_path / f"{name}.csv").hash for name in "abc")
    assert one == again != other


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "protocol").glob("*.yaml")))
def test_a_protocol_of_an_older_evaluation_is_found_by_its_class(name):
    node = yaml.safe_load((CONF / "protocol" / f"{name}.yaml").read_text())
    node |= {"file": "pairs.csv"} if "file" in node else {}
    old = {**node, "_target_": node["_target_"].replace("lookalike.evaluation.", "lookalike.")}
    assert rules_of_node(old) == rules_of_node(node)
    assert name == "pairs" or rules_of_node(old) == rules_of(name)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "lookalike.protocols.retrieval.Gone"},
        {"_target_": "not_installed.Rules"},
        {"_target_": "lookalike.protocols.retrieval.SelfRetrieval", "left_out": 1},
        {"ignore": "itself"},
    ],
)
def test_a_protocol_that_cannot_be_built_is_one_clear_error(node):
    with pytest.raises(ConfigError, match=re.escape("cannot be built (")):
        rules_of_node(node)
