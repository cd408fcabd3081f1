"""Find faces, animals or anything else in pictures, turn them upright, and crop them."""

from lookalike.detect.detection import Detection as Detection
from lookalike.detect.detection import Detector as Detector

__all__ = ["Detection", "Detector"]
