"""Checks that evaluations are of the same test: protocol, data, queries and metric arguments."""

from collections.abc import Sequence
from pathlib import Path

from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import FAR, JUDGED
from lookalike.report.matching import match_queries
from lookalike.report.read import Evaluation, find_evaluation


def evaluations_of_one_test(folders: Sequence[str | Path], force: bool = False) -> list[Evaluation]:
    """Read evaluations and check that they have the same protocol, data and queries, unless `force` is given.

    Raises:
        LookalikeError: a folder is no evaluation, or they are not of the same test.
    """
    names, evaluations = [str(folder) for folder in folders], [find_evaluation(folder) for folder in folders]
    if force:
        return evaluations
    notes = differing_tests(names, evaluations, [])
    if all(evaluation.per_query is not None for evaluation in evaluations):
        try:
            notes += match_queries(names, evaluations, [])[1]
        except LookalikeError as error:
            notes.append(str(error))
    refuse_differing(notes, "one figure of them does not compare the models", "draw")
    return evaluations


def refuse_differing(notes: list[str], so: str, job: str) -> None:
    """Raise `LookalikeError` with what differs, if anything does."""
    if notes:
        raise LookalikeError(
            f"these evaluations are not of the same test, so {so}:\n  "
            + "\n  ".join(dict.fromkeys(notes))
            + f"\nEvaluate them in the same way, or {job} anyway with force=true"
        )


def differing_tests(names: list[str], evaluations: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """Differences of the evaluations, apart from the model, that affect these metrics."""
    keys = {"data": "queries or galleries"}
    if not _differ_by_arguments(evaluations):
        keys = {"protocol": "protocols", **keys}
    notes = []
    for key, subject in keys.items():
        hashes = [str(evaluation.metrics[key]) for evaluation in evaluations if key in evaluation.metrics]
        if len(set(hashes)) > 1:
            hashes_text = ", ".join(
                f"{evaluation.metrics[key]} ({name})"
                for name, evaluation in zip(names, evaluations, strict=True)
                if key in evaluation.metrics
            )
            notes.append(f"different {subject}: {hashes_text}")
    for metric in metrics:
        arguments = [_arguments(evaluation, metric) for evaluation in evaluations]
        if any(evaluation != arguments[0] for evaluation in arguments[1:]):
            hashes_text = ", ".join(
                f"{evaluation} ({name})" for name, evaluation in zip(names, arguments, strict=True)
            )
            notes.append(f"{metric} was computed with different arguments: {hashes_text}")
    return notes


def _differ_by_arguments(result: list[Evaluation]) -> bool:
    """Whether all have the same protocol, so that at most metric arguments differ."""
    known = [each.metrics for each in result if "protocol" in each.metrics]
    rules = {str(each.get("rules", each["protocol"])) for each in known}
    explained = all(
        each.get("rules", each["protocol"]) == each["protocol"] or each.get("arguments") for each in known
    )
    return len(rules) == 1 and explained


def _arguments(evaluation: Evaluation, metric: str) -> str:
    """The arguments of a metric that are not in its name, such as `far=0.1`."""
    if "rules" in evaluation.metrics or metric not in JUDGED:
        every = [str(each).partition(" ") for each in evaluation.metrics.get("arguments") or []]
        return " ".join(provided for name, _, provided in every if name == metric) or "the defaults"
    rates = [name.removeprefix("tar@far=") for name in evaluation.metrics if name.startswith("tar@far=")]
    return f"far={float(rates[0])}" if rates and float(rates[0]) != FAR else "the defaults"
