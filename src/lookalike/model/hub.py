"""The model hub that weights come from: find out at once when it cannot be reached, and say what it did."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lookalike.errors import LookalikeError
from lookalike.model.weights import first_line

log = logging.getLogger(__name__)
SECONDS = 10.0
"""Time limit of the single request that tests the connection."""
SERVER_ERROR = 500
WITHOUT_NETWORK = (
    "what works without a network: backbone=efficientnet_lite0 (its weights are installed), "
    "backbone.weights=FILE (weights that you have), backbone.pretrained=false (random)"
)


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


def fetch(name: str, repository: str, files: Sequence[str]) -> Path:
    """The first of several files that a repository of the hub has, from its cache if it is there.

    Raises:
        LookalikeError: there is none, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        with local_if_unreachable(True):
            for file in files[:-1]:
                with suppress(EntryNotFoundError):
                    return Path(hf_hub_download(repository, file))
            return Path(hf_hub_download(repository, files[-1]))
    except Exception as error:  # the hub's client has errors of its own
        raise LookalikeError(explain(name, error)) from error


def explain(name: str, error: Exception, reason: str = "") -> str:
    """One line on weights of the hub that could not be loaded.

    Args:
        name: of the backbone.
        error: what its library raised, outside of `local_if_unreachable`.
        reason: what is wrong if it is the content, not the connection; the error's first line if not given.
    """
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, LocalEntryNotFoundError

    chain: list[BaseException] = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) is not None and earlier not in chain:
        chain.append(earlier)
    refusal = next((each for each in chain if isinstance(each, HfHubHTTPError)), None)
    if refusal is not None and refusal.response is not None:
        return (
            f"backbone.name={name}: {_host()} answers {refusal.response.status_code} instead of its "
            f"published weights; {WITHOUT_NETWORK}"
        )
    if any(isinstance(each, FileMetadataError) for each in chain):
        return f"backbone.name={name}: {_host()} does not answer as a model hub does; {WITHOUT_NETWORK}"
    if any(isinstance(each, LocalEntryNotFoundError | ConnectionError) for each in chain):
        return missing_weights(name)
    return (
        f"backbone.name={name}: its published weights cannot be loaded ({reason or first_line(error)}); "
        f"remove the copy in {_cache()} to download them again"
    )


def missing_weights(name: str) -> str:
    """One line on weights that cannot be fetched: where from, and what works without a network."""
    from huggingface_hub import constants

    state = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no connection"
    return (
        f"backbone.name={name}: its published weights are not on this machine and cannot be fetched from "
        f"{_host()} ({state}). {WITHOUT_NETWORK[0].upper()}{WITHOUT_NETWORK[1:]}"
    )


def _host() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT.partition("://")[2]


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _answers(address: str) -> bool:
    from huggingface_hub.utils import get_session

    try:
        return get_session().head(address, timeout=SECONDS).status_code < SERVER_ERROR
    except Exception as error:  # whatever HTTP library the client uses has errors of its own
        log.debug("%s does not answer: %s", address, error)
        return False
