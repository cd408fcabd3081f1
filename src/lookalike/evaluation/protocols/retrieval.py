"""The protocols in which images look for images: among themselves, by role, camera, reference, fold."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from lookalike.evaluation.protocols.base import (
    Rules,
    Samples,
    TaskPart,
    rows_by_role,
    self_retrieval,
    two_sided_task,
)

Ignore = Literal["itself", "group", "identity_in_group"]


@dataclass(frozen=True)
class SelfRetrieval(Rules):
    """Every image looks for the others of its identity among all images (leave one out).

    Attributes:
        ignore: what a query does not find: its own row; or all of its group as well; or, of its group, only
            its own identity.
    """

    ignore: Ignore = "itself"

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One: all rows."""
        return [self_retrieval(samples, np.arange(len(samples)), self.ignore, "self")]


@dataclass(frozen=True)
class QueryGallery(Rules):
    """Images with the role `query` look among those with the role `gallery`.

    `both` is both, and does not find itself. A `distractor` is in the gallery and right for nobody. A query
    whose identity the gallery lacks is an unknown one: it has no score, but counts in gap and dir@far.

    Attributes:
        ignore: what a query does not find: its own row; or all of its group as well; or, of its group, only
            its own identity.
        distractors: whether they are in the gallery.
    """

    ignore: Ignore = "itself"
    distractors: Literal["in_gallery", "left_out"] = "in_gallery"

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One: the rows by their role."""
        queries, gallery, right = rows_by_role(samples, "query_gallery")
        if self.distractors == "left_out":
            gallery, right = gallery[right], right[right]
        return [two_sided_task(samples, queries, gallery, self.ignore, "query_gallery", right)]


@dataclass(frozen=True)
class Reidentification(Rules):
    """A person or animal seen by one camera is looked for in the others (Zheng et al. 2015, Market-1501).

    Images of the query's identity from its own `group` (camera) are ignored: neither right nor wrong.
    Without a column `role` all images are both query and gallery.

    Attributes:
        junk: labels of images that nobody finds and nobody looks for, such as [-1, "0000"].
    """

    junk: list[int | str] | tuple[int | str, ...] = ()

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One: the rows without junk."""
        junk = {str(label) for label in self.junk}
        clean = np.array([str(name) not in junk for name in samples.names], bool)[samples.codes]
        if not clean.any():
            raise ValueError(f"protocol reid: every label is junk ({', '.join(sorted(junk))})")
        if "role" not in samples.frame.columns:
            return [self_retrieval(samples, np.flatnonzero(clean), "identity_in_group", "reid")]
        queries, gallery, right = rows_by_role(samples, "reid")
        queries, right, gallery = queries[clean[queries]], right[clean[gallery]], gallery[clean[gallery]]
        return [two_sided_task(samples, queries, gallery, "identity_in_group", "reid", right)]


@dataclass(frozen=True)
class References(Rules):
    """Some images of each identity are the gallery, as in an index of references; all others look.

    Attributes:
        per_class: how many are in the gallery; an identity with no more than these has no query.
        choose: the first ones of the table, or random ones.
        seed: of the random ones.
    """

    per_class: int = 1
    choose: Literal["first", "random"] = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_class < 1:
            raise ValueError(f"per_class={self.per_class}: at least one reference of each identity is needed")

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One: the references are the gallery."""
        order = np.arange(len(samples))
        if self.choose == "random":
            order = np.random.default_rng(self.seed).permutation(len(samples))
        position = (
            pl.Series(samples.codes[order]).to_frame("code").select(pl.int_range(pl.len()).over("code"))
        )
        gallery = np.sort(order[position.to_series().to_numpy() < self.per_class])
        queries = np.setdiff1d(np.arange(len(samples)), gallery)
        right = np.ones(len(gallery), bool)
        return [two_sided_task(samples, queries, gallery, "itself", "references", right)]


@dataclass(frozen=True)
class KFold(Rules):
    """Each fold of the column `fold` is evaluated alone; a number is the mean over the queries of all folds.

    Attributes:
        ignore: what a query does not find: its own row; or all of its group as well; or, of its group, only
            its own identity.
    """

    ignore: Ignore = "itself"

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One for each fold."""
        fold = samples.column("fold", "kfold")
        if fold.null_count():
            raise ValueError(f"column fold: {fold.null_count()} images have none")
        return [
            self_retrieval(samples, np.flatnonzero((fold == name).to_numpy()), self.ignore, "kfold")
            for name in fold.unique().sort()
        ]


@dataclass(frozen=True)
class MultiView(Rules):
    """The images of a query's `group` are several views of one thing, and look as one: their mean vector.

    A group is the images of one identity with one value of the column `group`; a row without one is alone.
    Without a column `role` every group looks among the images of all other groups.

    Attributes:
        gallery: whether the gallery holds single images, or the mean vectors of its groups as well.
    """

    gallery: Literal["images", "groups"] = "images"

    def parts(self, samples: Samples) -> list[TaskPart]:
        """One: groups are the queries."""
        views = pl.DataFrame({"code": samples.codes, "group": samples.groups("groups")})
        view = views.select(pl.struct("code", "group").rank("dense")).to_series().to_numpy().astype(np.int64)
        queries = gallery = np.arange(len(samples))
        right = np.ones(len(samples), bool)
        if "role" in samples.frame.columns:
            queries, gallery, right = rows_by_role(samples, "groups")
        merged = _mean_views(samples, queries, view)
        if self.gallery == "images":
            gallery_views = (samples.unit[gallery], gallery, right)
        else:
            remaining = gallery[right]
            gallery_views = (
                *_mean_views(samples, remaining, view),
                np.ones(len(np.unique(view[remaining])), bool),
            )
            spare = gallery[~right]
            gallery_views = (
                np.concatenate([gallery_views[0], samples.unit[spare]]),
                np.concatenate([gallery_views[1], spare]),
                np.concatenate([gallery_views[2], np.zeros(len(spare), bool)]),
            )
        return [_view_parts(samples, merged, gallery_views, view)]


def _view_parts(
    samples: Samples,
    queries: tuple[np.ndarray, np.ndarray],
    gallery: tuple[np.ndarray, np.ndarray, np.ndarray],
    view: np.ndarray,
) -> TaskPart:
    from lookalike.ranking.task import RetrievalTask

    (vectors, rows), (others, view_rows, right) = queries, gallery
    task = RetrievalTask(
        vectors,
        samples.codes[rows],
        others,
        np.where(right, samples.codes[view_rows], -1),
        query_groups=view[rows],
        gallery_groups=view[view_rows],
        ignore="group",
    )
    return TaskPart(task, rows, view_rows)


def _mean_views(samples: Samples, rows: np.ndarray, view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean vector of each view of these rows, at length 1, and the first row of each.

    Raises:
        ValueError: the vectors of a view cancel out.
    """
    from lookalike.metrics.inputs import exact_vectors

    _, first, codes = np.unique(view[rows], return_index=True, return_inverse=True)
    sums = np.zeros((len(first), samples.unit.shape[1]))
    np.add.at(sums, codes, samples.unit[rows])
    return exact_vectors(sums), rows[first]
