"""What a model folder says about itself: config.json and the model card."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.files import parse_json
from lookalike.model.licence import front_matter, licence_line
from lookalike.model.own_module import KIND as OWN_MODULE

FORMAT, TRUNCATED_FORMAT = 1, 2
"""Of config.json; earlier versions would ignore that a model is truncated, so they must refuse it."""
TYPES: dict[str, type | UnionType] = {
    **dict.fromkeys(("format", "dim"), int),
    **dict.fromkeys(("backbone", "pooling", "head", "preprocess"), dict),
    "matryoshka": list,
    "truncation": int | None,
    "licence": str | None,
}
"""Types of the values of config.json."""


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
        description = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LookalikeError(f"{file}: not JSON ({error})") from error
    if not isinstance(description, dict):
        raise LookalikeError(f"{file}: is no JSON object; is this a Lookalike model?")
    missing = {"format", "backbone", "pooling", "head", "dim", "preprocess"} - set(description)
    if missing:
        raise LookalikeError(f"{file}: lacks {', '.join(sorted(missing))}; is this a Lookalike model?")
    wrong = [key for key in description if not isinstance(description[key], TYPES.get(key, object))]
    if wrong:
        values = ", ".join(f"{key}={str(description[key])[:40]}" for key in wrong)
        raise LookalikeError(f"{file}: {values}: of another type than in a Lookalike model")
    if description["format"] > TRUNCATED_FORMAT:
        raise LookalikeError(f"{file}: format {description['format']} is newer than this version reads")
    return description


def model_card(description: Mapping[str, Any], card_text: str) -> str:
    """README.md of a model folder."""
    backbone, preprocess = description["backbone"], description["preprocess"]
    name = backbone.get("name", backbone["kind"])
    module = ", model=YourModule()" if backbone["kind"] == OWN_MODULE else ""
    licence = description.get("licence")
    metadata = front_matter(["metric-learning", "image-retrieval"], licence)
    return f"""{metadata}

# Embedding model

{card_text}

{licence_line(licence)}

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
