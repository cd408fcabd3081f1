"""What an export costs: gap, metrics and speed in fp32, fp16 and int8, and the gap over timm's families.

python benchmarks/export.py [precisions] [families] [model=FOLDER] [dataset=FOLDER] [families=25]

precisions: a trained model (by default one that is trained on LOOKALIKE_DATA/emoji first, which takes
some minutes) is exported in each precision. Gap, recall@1 and TAR are those that `lookalike export` reports
on the test identities; speed is a ratio to PyTorch in the same process, rounds alternating. The goals: gap
at most 1e-6 (fp32) and 1e-3 (fp16); int8 loses at most 0.5 points of recall@1 and keeps 95 % of TAR at its
own threshold; speedup at batch 16 and 1 at least 1.8 and 4 (fp32), 3 and 6 (int8).

families: small variants of timm's families with random weights are exported in fp32 and compared on random
pixels. The goal is a gap of at most 1e-5.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch

import lookalike
from _common import data, show
from lookalike.data.transforms import Resize
from lookalike.errors import LookalikeError
from lookalike.export.graph import Graph, write_onnx
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build

FAMILIES = [
    "resnet10t",
    "regnetx_002",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_050",
    "efficientnet_lite0",
    "tf_efficientnetv2_b0",
    "convnext_atto",
    "convnextv2_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "maxvit_rmlp_pico_rw_256",
    "coatnet_nano_rw_224",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "edgenext_xx_small",
    "fastvit_t8",
    "ghostnet_050",
    "densenet121",
    "dla34",
    "hrnet_w18_small",
    "lcnet_035",
    "mnasnet_small",
    "poolformer_s12",
    "repvgg_a0",
    "rexnet_100",
    "tinynet_e",
    "xcit_nano_12_p16_224",
    "levit_128s",
    "efficientformer_l1",
]


def train(folder: Path) -> tuple[Path, lookalike.Table]:
    """A model trained with the defaults, and its table."""
    table = lookalike.read_table(data("emoji") / "table.csv")
    lookalike.train(table, out=folder, image_size=64, epochs=3, progress=False)
    return folder, table


def precisions(settings: dict[str, str], folder: Path) -> None:
    if "model" in settings:
        model, table = Path(settings["model"]), lookalike.read_table(settings["dataset"])
    else:
        model, table = train(folder / "run")
    rows = []
    for precision in ("fp32", "fp16", "int8"):
        result = lookalike.export(
            model, table, out=folder / precision, precision=precision, max_recall_loss=1, progress=False
        )
        original, exported = result.quality[:2]
        slow, fast = result.speed
        rows.append(
            (
                precision,
                f"{result.bytes / 1e6:.1f}",
                f"{result.gap.max:.1e} / {result.gap.mean:.1e}",
                f"{original.recall_at_1:.3f} → {exported.recall_at_1:.3f}",
                f"{original.tar:.3f} → {exported.tar:.3f}",
                f"{slow.speedup:.1f}",
                f"{fast.speedup:.1f}",
            )
        )
        for mixed in result.quality[2:]:
            print(
                f"{precision}: {mixed.queries} queries in {mixed.gallery} gallery: recall@1 "
                f"{mixed.recall_at_1:.3f}, TAR {mixed.tar:.3f}"
            )
    columns = (
        "precision",
        "MB",
        "gap max / mean",
        "recall@1",
        "TAR",
        "speedup, batch 1",
        "speedup, batch 16",
    )
    show(f"Export of {model}, {result.gap.images} test images", columns, rows)


def families(settings: dict[str, str], folder: Path) -> None:
    rows = []
    for name in FAMILIES[: int(settings.get("families", 25))]:
        try:
            rows.append((name, f"{_gap(name, folder / f'{name}.onnx'):.1e}"))
        except (LookalikeError, RuntimeError) as error:
            rows.append((name, f"not exported: {str(error).splitlines()[0][:80]}"))
        print(*rows[-1], flush=True)
    show("Families, fp32", ("backbone", "gap"), rows)


def _gap(name: str, file: Path) -> float:
    import onnxruntime

    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=0)
    size = net.pretrained_cfg["input_size"][-1]
    backbone = backbones.Timm(net, {"kind": "timm", "name": name})
    model = build(backbone, pooling.Native(), heads.Linear, 64, Resize(size)).eval()
    write_onnx(Graph(model), file)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, size, size), np.uint8)
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy().astype(np.float64)
    vectors = session.run(None, {"images": images})[0].astype(np.float64)
    file.unlink()
    return float(np.max(1 - (vectors * expected).sum(axis=1)))


def main() -> None:
    words = sys.argv[1:]
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    cases = [word for word in words if "=" not in word] or ["precisions", "families"]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            {"precisions": precisions, "families": families}[case](settings, Path(folder))


if __name__ == "__main__":
    main()
