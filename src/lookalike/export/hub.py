"""Model folders on the Hugging Face Hub, or on any server with its interface; only when asked for."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.files import new_folder, refuse_existing
from lookalike.model.loading import find_onnx, load

log = logging.getLogger(__name__)
FILES = (
    "config.json",
    "model.safetensors",
    "model.onnx",
    "operating_point.json",
    "export.json",
    "config.yaml",
    "README.md",
    "text.json",
    "text.safetensors",
)
"""What a model folder or an export consists of; nothing else is sent or fetched."""


def push(
    model: str | Path, repo: str, *, private: bool = True, token: str | None = None, message: str = ""
) -> str:
    """Upload a model folder or an export.

    Args:
        model: model folder, run folder or export folder.
        repo: "user/name" on the hub; made if it does not exist.
        private: visibility of a new repository.
        token: access token; by default that of the environment or of `hf auth login`.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        LookalikeError: the folder is damaged, or the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    folder = _model_folder(Path(model))
    load(folder)  # a damaged folder is refused before anything is sent
    with _plain_errors(repo):
        api = HfApi(_endpoint(), token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message=message or "Upload a model of Lookalike",
        )
    return str(commit.commit_url)


def pull(repo: str, out: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """Download a model folder or an export, check it, and return its folder.

    Only the files of a model are fetched, and none of them contains code. Each is compared with the size and
    the SHA-256 that the hub announces.

    Args:
        repo: "user/name" on the hub.
        out: folder to write; it must not exist.
        revision: branch, tag or commit; the default branch if not given.
        token: access token; by default that of the environment or of `hf auth login`.

    Raises:
        LookalikeError: the hub cannot be reached or refuses, the repository contains no model, a file differs
            from what the hub says, or the model is damaged. Then nothing is left behind.
    """
    from huggingface_hub import HfApi

    out = Path(out)
    refuse_existing(out)
    with _plain_errors(repo):
        api = HfApi(_endpoint(), token=token)
        details = api.model_info(repo, revision=revision, files_metadata=True)
        available = {entry.rfilename: entry for entry in details.siblings or []}
        names = [name for name in FILES if name in available]
        ignored = sorted(set(available) - set(FILES) - {".gitattributes"})
        if not {"model.safetensors", "model.onnx"} & set(names):
            raise LookalikeError(f"{repo}: contains neither model.safetensors nor model.onnx")
        if ignored:
            log.info("%s: not fetched, since not part of a model: %s", repo, ", ".join(ignored[:10]))
        with new_folder(out) as folder:
            for name in names:
                _fetch(repo, details.sha, name, available[name], folder, token)
            load(folder)
    log.info("wrote %s, commit %s of %s", out, details.sha, repo)
    return out


def _endpoint() -> str:
    """Address of the hub; HF_ENDPOINT changes it."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def _model_folder(path: Path) -> Path:
    """The folder that contains the model itself."""
    exported = find_onnx(path)
    if exported is not None:
        return exported.parent
    return path / "model" if (path / "model" / "config.json").is_file() else path


def _fetch(repo: str, revision: str | None, name: str, entry: Any, folder: Path, token: str | None) -> None:
    """One file, compared with the size and hash that the hub announced."""
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        file = hf_hub_download(
            repo, name, revision=revision, local_dir=temporary, token=token, endpoint=_endpoint()
        )
        _check(Path(file), name, entry)
        shutil.move(file, folder / name)


def _check(file: Path, name: str, entry: Any) -> None:
    announced = getattr(entry, "size", None)
    if announced is not None and file.stat().st_size != announced:
        raise LookalikeError(f"{name}: {file.stat().st_size} bytes were received of {announced}; try again")
    sha256 = getattr(getattr(entry, "lfs", None), "sha256", None)
    if sha256 is None:
        return
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != sha256:
        raise LookalikeError(
            f"{name}: the received file has SHA-256 {actual}, and the hub announced {sha256}; do not use it"
        )


@contextmanager
def _plain_errors(repo: str) -> Iterator[None]:
    """Errors of the hub's client as one line, without the request, which contains the token."""
    from huggingface_hub import errors

    try:
        yield
    except LookalikeError:
        raise
    except errors.GatedRepoError:
        raise LookalikeError(f"{repo}: its owner must grant you access first") from None
    except errors.RevisionNotFoundError:
        raise LookalikeError(f"{repo}: there is no such revision") from None
    except errors.RepositoryNotFoundError:
        reason = "there is no such repository, or your token may not read it"
        raise LookalikeError(f"{repo}: {reason}") from None
    except errors.OfflineModeIsEnabled:
        raise LookalikeError(
            f"{repo}: HF_HUB_OFFLINE is set, so the hub is not contacted; unset it"
        ) from None
    except errors.HFValidationError as error:
        raise LookalikeError(f"repo={repo}: {str(error).splitlines()[0]}") from None
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "unknown")
        raise LookalikeError(f"{repo}: {_endpoint()} answered with status {status}") from None
    except Exception as error:  # whatever HTTP library the client uses has errors of its own
        if isinstance(error, OSError) and error.filename is not None:
            raise
        kind = type(error).__name__
        raise LookalikeError(f"{repo}: {_endpoint()} cannot be reached, or broke off ({kind})") from None
