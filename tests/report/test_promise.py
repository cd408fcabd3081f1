"""That a report says where the model's own threshold misses its rate, and only there."""

from pathlib import Path

import pytest

from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.report.facts import promise
from lookalike.report.read import Evaluation, Run

POINT = OperatingPoint(0.001, 0.001, 0.75, 0.7, 0.8, 0.9, 0.8, 0.95, 1e-5, 174, 30, "5pace")


def report_text(far, point=POINT, threshold=0.75):
    metrics = {
        "operating_threshold": {"value": threshold},
        "operating_far": far,
        "operating_tar": {"value": 0.97},
    }
    return promise(Run(Path("run"), point=point), Evaluation(Path("evaluation"), metrics))


@pytest.mark.parametrize(
    ("far", "broken"),
    [
        ({"value": 0.156, "low": 0.12, "high": 0.2}, True),
        ({"value": 0.0018, "low": 0.0008, "high": 0.0034}, False),
        ({"value": 0.0018, "low": 0.0011, "high": 0.0034}, True),
        ({"value": 0.0002, "low": 0.0001, "high": 0.0005}, False),
        ({"value": 0.156}, True),
        ({"value": 0.0015}, False),
        (None, False),
    ],
)
def test_a_broken_promise_is_said_with_its_numbers(far, broken):
    text = report_text(far)
    assert bool(text) == broken
    if broken and far["value"] > 0.1:
        assert "15.6 %" in text and "0.1 %" in text and "156 times" in text and "97.0 %" in text


def test_the_point_of_another_model_promises_nothing():
    assert not report_text({"value": 0.156, "low": 0.12}, threshold=0.5)
    assert not report_text({"value": 0.156, "low": 0.12}, point=None)
