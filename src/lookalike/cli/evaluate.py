"""The job `evaluate`: metrics with intervals of vectors, or of a model and a dataset."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.cli._evaluate_keys import Config
from lookalike.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.pca import Pca
    from lookalike.evaluation.protocols.base import Rules
    from lookalike.evaluation.result import Evaluation

__all__ = ["Config", "main"]


def main(config: Config) -> Path:
    """Evaluate, show the metrics, and return the evaluation folder."""
    from lookalike.evaluation.tables import show_evaluation
    from lookalike.files import refuse_existing

    refuse_existing(config.out)
    if config.each or config.run is not None or isinstance(config.model, list):
        from lookalike.cli._evaluate_several import list_changes

        return _evaluate_several(config, list_changes(config))
    evaluation, pca = run_evaluation(config)
    evaluation.save(config.out, {"job": "evaluate", **config.model_dump(mode="json")}, pca)
    show_evaluation(evaluation, _count_skipped(evaluation))
    return config.out


def run_evaluation(config: Config) -> "tuple[Evaluation, Pca | None]":
    """The evaluation that the keys describe, and the PCA that its vectors were projected by."""
    from lookalike.cli._vector_keys import compute_embeddings, load_or_compute
    from lookalike.config import build
    from lookalike.evaluation.arguments import functions_of_nodes
    from lookalike.evaluation.refine import evaluate_refined

    protocol, metrics = build(config.protocol, "protocol"), functions_of_nodes(config.metric)
    default = ["test"] if config.embeddings is None else None
    split = [config.split] if isinstance(config.split, str) else config.split or default
    if isinstance(config.embeddings, list):
        raise ConfigError("embeddings=[…]: several are evaluated one by one, with each=true")
    learn_on = _load_pca_vectors(config)  # first, since it may fail
    embeddings = load_or_compute(config, split, config.labels, partial(_check, config.by, protocol))
    if config.pca.is_requested and learn_on is None and isinstance(config.model, Path) and config.dataset:
        learn_on = compute_embeddings(config, config.model, config.dataset, ["train"])
    evaluation, pca = evaluate_refined(
        embeddings,
        *_refinements(config, learn_on),
        metrics=metrics,
        ks=config.ks,
        far=config.far,
        coarse_far=config.coarse_far,
        fpir=config.fpir,
        validation=config.validation,
        intervals=config.intervals,
        seed=config.seed,
        protocol=protocol,
        by=config.by,
        progress=config.progress,
    )
    return _add_text_recall(config, evaluation), pca


def _add_text_recall(config: Config, evaluation: "Evaluation") -> "Evaluation":
    """The evaluation, with recall between texts and images if a column of texts is given."""
    from lookalike.config import build

    if config.text is None:
        return evaluation
    from lookalike.evaluation.text_recall import text_recall, with_text_recall
    from lookalike.model.text import load_text

    images = evaluation.embeddings
    folder = None if images is None else images.model
    if images is None or folder is None:
        raise ConfigError(
            "text: recall between texts and images needs vectors of a known model, without pca= and "
            "protocol=pairs"
        )
    encoder = None if config.text_encoder is None else build(config.text_encoder, "text_encoder")
    tower = load_text(folder, encoder)
    recalls = text_recall(tower, images, config.text, config.ks, config.intervals, config.seed)
    return with_text_recall(evaluation, recalls)


def _evaluate_several(config: Config, changes: "Mapping[str, dict[str, Any]]") -> Path:
    """Evaluate with these changes one by one; see `evaluation.several`."""
    from lookalike.evaluation.several import save_several
    from lookalike.evaluation.tables import show_evaluation, show_several

    def show(name: str, evaluation: "Evaluation") -> None:
        print(f"{name}:")
        show_evaluation(evaluation, _count_skipped(evaluation))

    of_models = config.run is not None or isinstance(config.model, list)
    configs = {
        name: config.model_copy(update={**change, "each": False, "run": None, "out": config.out / name})
        for name, change in changes.items()
    }
    evaluations = save_several(
        config.out,
        {name: partial(run_evaluation, item) for name, item in configs.items()},
        {name: {"job": "evaluate", **item.model_dump(mode="json")} for name, item in configs.items()},
        of_models,
        None if of_models else show,
    )
    if of_models:
        show_several(evaluations)
    return config.out


def _count_skipped(evaluation: "Evaluation") -> int:
    return 0 if evaluation.embeddings is None else len(evaluation.embeddings.skipped)


def _refinements(config: Config, learn_on: "Embeddings | None") -> "tuple[Any, Any, Any]":
    """The settings of PCA, expansion and re-ranking; None where one is not requested."""
    from lookalike.evaluation.refine import ExpansionSettings, PcaSettings
    from lookalike.evaluation.rerank import KReciprocal

    pca, keys = config.pca, config.rerank
    source = str(pca.learn_on or f"split train of {config.dataset}")
    projection = None if learn_on is None else PcaSettings(learn_on, source, pca.dim, pca.whiten)
    try:
        rerank = KReciprocal(keys.k1, keys.k2, keys.weight) if keys.k1 else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return projection, ExpansionSettings(**config.expand.model_dump()), rerank


def _load_pca_vectors(config: Config) -> "Embeddings | None":
    """The vectors that a PCA is fitted on, if one is requested and they need not be computed."""
    from lookalike.embeddings import load_embeddings

    if not config.pca.is_requested:
        return None
    if config.pca.learn_on is not None:
        learn_on = load_embeddings(config.pca.learn_on, None, labelled=False)
        return learn_on if config.dim is None else learn_on.truncate(config.dim)
    if config.model is None or config.dataset is None:
        raise ConfigError(
            "pca: say which vectors to learn it on, not those to be tested: pca.learn_on=emb/train"
        )
    return None


def _check(by: list[str], protocol: "Rules", table: "Table") -> None:
    from lookalike.evaluation.protocols.checking import check_table

    try:
        check_table(table.labels, table.frame, protocol, by)
    except ValueError as error:
        raise DataError(str(error)) from error
