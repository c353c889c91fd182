"""Checkpoints from the Hugging Face hub.

Tokens, caches, endpoints and offline mode are huggingface_hub's own (HF_TOKEN, HF_HOME, HF_HUB_OFFLINE, …).
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import DryRunError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from export.checkpoint import PIPELINE, READ, WEIGHTS
from export.errors import ExportError
from export.weights import unread

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def fetch(repository: str, revision: str) -> Path:
    """The folder of `repository` at `revision` in the hub's cache, its missing files downloaded. Raises ExportError."""
    wanted: Any = {"revision": revision, "allow_patterns": READ}
    try:
        with suppress(DryRunError):  # no network: the cache may hold it all
            planned: Any = snapshot_download(repository, **wanted, dry_run=True)
            wanted["ignore_patterns"] = left = sorted(unread(file.filename for file in planned))
            needed = (file for file in planned if file.will_download and file.filename not in left)
            _check_disk(repository, sum(file.file_size for file in needed))
        return Path(snapshot_download(repository, **wanted))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ExportError(
            f"{repository} is not in the local cache and {why}: give its folder with --checkpoint"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        why = {
            401: "it does not exist, or is private and wants a token (HF_TOKEN)",
            403: "its terms have to be accepted on its page, with the account of your token (HF_TOKEN)",
            404: f"it has no revision {revision}, or does not exist",
        }.get(status or 0, f"the hub answered {status}")
        raise ExportError(f"{repository} cannot be downloaded: {why}") from error


def fetch_layout(repository: str, revision: str, file: Path) -> Path:
    """The folder of `repository` at `revision`, a few MB without its weights, as configuration for those in `file`.

    Raises ExportError.
    """
    patterns = [pattern for pattern in READ if pattern != WEIGHTS]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        included = " ".join(f"'{pattern}'" for pattern in patterns)
        raise ExportError(
            f"{file} holds weights alone, and the configuration of {repository} is not in the local cache: lay the file"
            f" beside the {PIPELINE} of a checkpoint of its kind, or run, where the hub can be reached,"
            f" hf download {repository} --revision {revision} --include {included}"
        ) from error


def _check_disk(repository: str, needed: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ExportError(
            f"{repository} takes {needed / 1e9:.1f} GB and the hub's cache has {free / 1e9:.1f} GB free:"
            " make room, or move it with HF_HOME"
        )
