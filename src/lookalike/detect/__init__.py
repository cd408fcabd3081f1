"""Detect faces, animals or other objects in images, rotate them upright, and crop them."""

from lookalike.detect.detection import Detection as Detection
from lookalike.detect.detection import Detector as Detector

__all__ = ["Detection", "Detector"]
