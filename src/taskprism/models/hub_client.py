"""Download models from the Hugging Face hub and upload them, with errors that say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from taskprism.errors import CheckpointError, InputError, TaskprismError
from taskprism.models.model_card import CARD

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
#: Id of a model, perhaps with a revision.
HUB_ID = re.compile(r"(?P<id>[\w\-]+/[\w\-.]+)(@(?P<revision>[\w\-./]+))?")


@dataclass(frozen=True)
class HubAccess:
    """How models are read from the Hugging Face hub.

    Attributes:
        revision: Branch, tag or commit; None: the main branch.
        token: Access token; None: that of ``hf auth login`` or of the variable ``HF_TOKEN``; False:
            none.
        cache_dir: Folder of downloaded files; None: that of the hub client.
        local_files_only: Never connect; the model must be in the cache.

    Example:
        >>> HubAccess(revision="v1", token="secret")
        HubAccess(revision='v1', cache_dir=None, local_files_only=False)
    """

    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def download(hub_id: str, revision: str | None, access: HubAccess) -> Path:
    """Files of a model of the hub, from the cache or the hub.

    Args:
        hub_id: ``owner/name``.
        revision: Branch, tag or commit; None: the main branch.
        access: How it is read; its revision is not used.

    Returns:
        Folder in the cache.

    Raises:
        CheckpointError: The hub or the cache does not give the model; the message says why.
    """
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            token=access.token,
            cache_dir=access.cache_dir,
            local_files_only=access.local_files_only,
            allow_patterns=[CONFIG, WEIGHTS],
        )
    except Exception as error:  # the hub client has no common base for "offline", "gone", ...
        reason = _why_not_read(error, hub_id, revision, access.local_files_only)
        raise CheckpointError(f"No folder is named {hub_id!r}, and {reason}") from error
    if not (Path(folder) / CONFIG).is_file():
        raise CheckpointError(
            f"{hub_id!r} on the hub holds no model of taskprism: it has no {CONFIG}."
        )
    return Path(folder)


_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or pass token="


def _why_not_read(error: Exception, hub_id: str, revision: str | None, local: bool) -> str:
    """Second half of a sentence: why a model cannot be read from the hub, and what to do."""
    if isinstance(error, HFValidationError):
        return f"it is no valid id of the hub: {' '.join(str(error).split())}"
    if isinstance(error, GatedRepoError):
        return (
            f"its access on the hub is restricted. Accept its terms at "
            f"{constants.ENDPOINT}/{hub_id}, and {_LOG_IN}."
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            "the hub has no such model that you may read. Check the id; for a private model, "
            f"{_LOG_IN}."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the model on the hub has no revision {revision!r}. Give a branch, tag or commit."
    if local:
        return (
            "the model is not in the local cache of the hub, and local_files_only forbids to "
            "connect. Load it once without local_files_only."
        )
    cause = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error.__context__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub refuses to send it (status {status}). To use another account, {_LOG_IN}."
    if constants.HF_HUB_OFFLINE:
        return (
            "the model is not in the local cache of the hub, and HF_HUB_OFFLINE forbids to "
            "connect. Unset HF_HUB_OFFLINE once."
        )
    what = f"status {status}" if status else type(cause or error).__name__
    return (
        f"the hub at {constants.ENDPOINT} did not send it ({what}). Check the connection, or the "
        "path if you meant a folder."
    )


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload model with taskprism",
    create_pr: bool = False,
) -> str:
    """Upload a folder written by ``save_pretrained`` to the Hugging Face hub.

    Only the config, the weights, the model card and its pictures are uploaded.

    Args:
        folder: The folder.
        repo_id: ``owner/name``; the repository is created if it does not exist.
        private: Whether a new repository is private; None: as the owner's settings say.
        revision: Branch, which is created if it does not exist; None: the main branch.
        token: Access token; None: that of ``hf auth login`` or of ``HF_TOKEN``.
        commit_message: First line of the commit.
        create_pr: Open a pull request instead of committing.

    Returns:
        URL of the commit.

    Raises:
        InputError: The id is not of the form ``owner/name``, or a repository that must be private
            exists and is public.
        CheckpointError: The upload failed; the message says why.

    Example:
        >>> push_folder("mine", "name")
        Traceback (most recent call last):
        taskprism.errors.InputError: Expected an id of the hub, owner/name, got 'name'.
    """
    match = HUB_ID.fullmatch(repo_id)
    if match is None or match["revision"]:
        raise InputError(f"Expected an id of the hub, owner/name, got {repo_id!r}.")
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise InputError(
                f"{repo_id!r} on the hub exists already and is public. Make it private at "
                f"{constants.ENDPOINT}/{repo_id}/settings, or choose another id."
            )
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=[CONFIG, WEIGHTS, CARD, "*.png"],
            ignore_patterns=["*/*"],
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
        )
    except TaskprismError:
        raise
    except Exception as error:  # the hub client has no common base for its errors
        raise CheckpointError(
            f"Cannot upload to {repo_id!r} on the hub: {_why_not_written(error)}"
        ) from error
    return str(done)


def _why_not_written(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401 or "token" in type(error).__name__.lower():
        return f"you are not logged in (status 401). To upload, {_LOG_IN}."
    if status == 403:
        return (
            "your token may not write there (status 403). Create a token with write access at "
            f"{constants.ENDPOINT}/settings/tokens, and {_LOG_IN}."
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{reason}. Check the id and the connection, and try again."
