"""The model hub that timm's weights come from: find out at once when it cannot be reached."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)
SECONDS = 10.0
"""Time limit of the single request that tests the connection."""


@contextmanager
def local_if_unreachable(needed: bool) -> Iterator[None]:
    """Use only weights that are already on this machine while the hub does not answer.

    Without this, the hub's client retries every file for a minute before it reports the lost connection.

    Args:
        needed: whether anything is going to be fetched; nothing is tested otherwise.
    """
    from huggingface_hub import constants

    if not needed or constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def missing_weights(name: str) -> str:
    """One line on weights that cannot be fetched: where from, and what works without a network."""
    from huggingface_hub import constants

    location = constants.ENDPOINT.partition("://")[2]
    state = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no connection"
    return (
        f"backbone.name={name}: its published weights are not on this machine and cannot be fetched from "
        f"{location} ({state}). What works without a network: backbone=efficientnet_lite0 (its weights are "
        "installed), backbone.weights=FILE (weights that you have), backbone.pretrained=false (random)"
    )


def _answers(address: str) -> bool:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(address, timeout=SECONDS)
    except Exception as error:  # whatever HTTP library the client uses has errors of its own
        log.debug("%s does not answer: %s", address, error)
        return False
    return True
