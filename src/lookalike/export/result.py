"""What an export gives: the file, and how it compares with the model it was made of."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.export.measure import Gap, Quality, Speed
from lookalike.model.onnx_model import FILE, OnnxModel

TORCHSCRIPT_FILE = "model.torchscript"


@dataclass(frozen=True)
class Export:
    """An exported file, and how it compares with the model it was made of.

    Attributes:
        file: the graph.
        space: embedding space of its vectors; that of the model for fp32 and fp16 without PCA.
        gap: between the embeddings of the two.
        quality: metrics of the two and, in another space of the same dimension, of mixed use; empty without
            labelled images.
        speed: of the two.
        bytes: size of the file.
        operating_point: of the file; None if there are no validation identities to choose it on.
    """

    file: Path
    space: str
    gap: Gap
    quality: list[Quality]
    speed: list[Speed]
    bytes: int
    operating_point: OperatingPoint | None

    def load(self) -> Any:
        """The exported model, ready to embed. A TorchScript file gives a torch module instead."""
        if self.file.name == FILE:
            return OnnxModel(self.file)
        import torch

        return torch.jit.load(str(self.file))

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        values = asdict(self)
        values["speed"] = [{**asdict(each), "speedup": each.speedup} for each in self.speed]
        return {**values, "file": self.file.name}

    def __str__(self) -> str:
        """The figures as text, a line each."""
        lines = [
            f"{self.file} ({self.bytes / 1e6:.1f} MB, space {self.space})",
            f"gap (1 - cosine) on {self.gap.images} images: max {self.gap.max:.1e}, mean {self.gap.mean:.1e}",
        ]
        lines += [
            f"{each.queries} queries, {each.gallery} gallery: recall@1 {each.recall_at_1:.3f}, "
            f"TAR {each.tar:.3f} at FAR {each.far:.2g} (threshold {each.threshold:.3f})"
            for each in self.quality
        ]
        lines += [
            f"batch {each.batch_size}: {each.exported_ms:.2f} ms per image, PyTorch {each.original_ms:.2f} "
            f"({each.speedup:.1f} times as fast)"
            for each in self.speed
        ]
        return "\n".join(lines)
