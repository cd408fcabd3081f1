"""What a model folder says about itself: config.json and the model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.model.own_module import KIND as OWN_MODULE

FORMAT, TRUNCATED_FORMAT = 1, 2
"""Of config.json; earlier versions would ignore that a model is truncated, so they must refuse it."""


def read_description(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        LookalikeError: it is missing or damaged, or of a newer version.
    """
    file = folder / "config.json"
    if not file.is_file() or not (folder / "model.safetensors").is_file():
        raise LookalikeError(
            f"{folder}: not a model folder, which contains config.json and model.safetensors; "
            "`lookalike train` writes one to RUN/model"
        )
    try:
        description = json.loads(file.read_text())
    except ValueError as error:
        raise LookalikeError(f"{file}: not JSON ({error})") from error
    missing = {"format", "backbone", "pooling", "head", "dim", "preprocess"} - set(description)
    if missing:
        raise LookalikeError(f"{file}: lacks {', '.join(sorted(missing))}; is this a Lookalike model?")
    if description["format"] > TRUNCATED_FORMAT:
        raise LookalikeError(f"{file}: format {description['format']} is newer than this version reads")
    return description


def model_card(description: Mapping[str, Any], card_text: str) -> str:
    """README.md of a model folder."""
    backbone, preprocess = description["backbone"], description["preprocess"]
    name = backbone.get("name", backbone["kind"])
    module = ", model=YourModule()" if backbone["kind"] == OWN_MODULE else ""
    return f"""# Embedding model

{card_text}

- backbone {name}, pooling {description["pooling"]["kind"]}, head {description["head"]["kind"]}
- embeddings of {description["dim"]} numbers, compared by cosine similarity
- images resized to {preprocess["size"]} px ({preprocess["how"]}, {preprocess["interpolation"]})
- space {description["space"]}: compare vectors of this space only

```python
import lookalike
model = lookalike.load("path/to/this/folder"{module})
vectors = model.embed(["a.jpg", "b.jpg"])
```
"""
