"""Upload a folder to a model repository on the Hugging Face Hub."""

import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from sslzoo.runtime.errors import UserError

FILES = ("README.md", "config.json", "model.safetensors", "*.png")
"""Files of the folder that are uploaded."""


def upload_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Create the repository if it does not exist, upload the files of a folder as one commit, and return its address.

    The token is that of `hf auth login` or HF_TOKEN; it is not written anywhere.

    Raises:
        UserError: there is no token, the Hub refuses it or the name, or it cannot be reached.
    """
    if huggingface_hub.get_token() is None:
        raise UserError(f"push {repository}: no token of the Hugging Face Hub; run `hf auth login`, or set HF_TOKEN")
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]  # not in its list of exports
    api = HfApi(library_name="sslzoo")
    try:
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, allow_patterns=list(FILES))
    except HfHubHTTPError as error:
        raise UserError(f"push {repository}: refused by the Hub: {_first_line(error)}") from error
    except (HFValidationError, OfflineModeIsEnabled) as error:
        raise UserError(f"push {repository}: {_first_line(error)}") from error
    except Exception as error:  # each HTTP client that the library has used raises its own errors
        raise UserError(f"push {repository}: the Hub could not be reached: {_first_line(error)}") from error
    return str(url)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
