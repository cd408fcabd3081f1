"""The last step of training: the kept model gets its threshold."""

import logging
from pathlib import Path

from lookalike.embeddings import embed
from lookalike.errors import LookalikeError
from lookalike.model.embedder import load
from lookalike.operating import choose, write_point
from lookalike.training.plan import Parts

log = logging.getLogger(__name__)


def choose_threshold(parts: Parts, folder: Path) -> None:
    """Choose the threshold of the model in `folder` on the validation identities, and write it there.

    Without validation identities, or with too few to choose on, there is none, and that is said.
    """
    if parts.validation is None:
        log.warning("no validation identities, so the model has no threshold to tell same from different by")
        return
    try:
        model = load(folder, parts.accelerator.device)
        vectors = embed(model, parts.validation, workers=parts.settings.workers or 0, progress=False)
        found = choose(
            vectors.vectors, vectors.table.labels, parts.settings.far, model.space, parts.settings.seed
        )
    except (ValueError, LookalikeError) as error:
        log.warning("the model has no threshold to tell same from different by: %s", error)
        return
    write_point(found, folder)
    log.info("%s", found)
