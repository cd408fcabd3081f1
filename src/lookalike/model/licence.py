"""The licence of a model, as its weights or its user state it, and as model hubs write it."""

from typing import Any

import yaml

HUB_IDS = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0"),
    *("cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail", "gpl-3.0", "agpl-3.0"),
    *("apple-ascl", "apple-amlr", "gemma", "unlicense"),
}
"""Licences that the Hugging Face Hub knows by these names; others are `other`, with a name of their own."""
UNKNOWN = {"", "unknown", "none"}


def stated_licence(value: Any) -> str | None:
    """A licence in lower case; None where nothing is stated."""
    text = str(value or "").strip()
    return None if text.lower() in UNKNOWN else text.lower()


def front_matter(tags: list[str], licence: str | None) -> str:
    """The metadata that hubs read at the top of a model card."""
    metadata: dict[str, Any] = {"library_name": "lookalike", "pipeline_tag": "image-feature-extraction"}
    if licence is not None:
        known = licence in HUB_IDS
        metadata |= {"license": licence} if known else {"license": "other", "license_name": licence}
    return f"---\n{yaml.safe_dump({**metadata, 'tags': tags}, sort_keys=False, allow_unicode=True)}---"


def licence_line(licence: str | None) -> str:
    """What a model card says about the licence."""
    if licence is None:
        return (
            "Licence: not stated. That of the weights that training started from, and of the images, applies."
        )
    return f"Licence: {licence}. The licence of the training images may restrict its use further."
