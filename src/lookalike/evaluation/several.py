"""Several evaluations in one folder: an evaluation folder for each, a table, and a figure over models."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lookalike.evaluation.pca import Pca
from lookalike.evaluation.result import Evaluation
from lookalike.evaluation.tables import write_table
from lookalike.files import new_folder
from lookalike.plots.over_models import save_over_models

Evaluate = Callable[[], tuple[Evaluation, Pca | None]]


def save_several(
    out: Path,
    evaluate_each: Mapping[str, Evaluate],
    metadata: Mapping[str, Mapping[str, Any]],
    of_models: bool = False,
    on_result: Callable[[str, Evaluation], None] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate one by one, and write the folder when all are done: table.csv, table.md and a folder of each.

    Args:
        out: folder to write; it must not exist.
        evaluate_each: by name, a function that evaluates, and returns the PCA that the vectors went through.
        metadata: by name, what made the evaluation, for its config.yaml.
        of_models: these are models on the same images: also draw models.png.
        on_result: called with each name and evaluation.

    Raises:
        LookalikeError: `out` exists, or an evaluation fails; nothing is written then.
    """
    evaluations = {}
    with new_folder(out) as temporary:
        for name, evaluate in evaluate_each.items():
            evaluation, pca = evaluate()
            evaluation.save(temporary / name, metadata[name], pca)
            evaluations[name] = evaluation
            if on_result is not None:
                on_result(name, evaluation)
        write_table(temporary, evaluations)
        if of_models:
            values = {name: evaluation.metrics for name, evaluation in evaluations.items()}
            save_over_models(values, temporary / "models.png")
    return evaluations
