"""MediaPipe's model of the face, fetched once from its owner into the user's cache."""

import os
import pathlib

from deepmds_jax.extras import require

# As MediaPipe's documentation of the Face Landmarker has it (float16, version 1; Apache-2.0):
# ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker
ADDRESS = ("https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
           "float16/1/face_landmarker.task")
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"  # of 3,758,596 bytes

_SECONDS = 30  # without an answer


def fetch_face_model(
    folder: str | os.PathLike | None = None, address: str = ADDRESS, sha256: str = SHA256
) -> pathlib.Path:
    """MediaPipe's model file `face_landmarker.task`; downloaded unless it is there already.

    A file whose hash is another one is not used, and nothing half downloaded is left behind.

    Args:
      folder: where it is kept; by default `deepmds_jax` in the user's cache.
      address: where to fetch it.
      sha256: its hash, in hexadecimal digits.

    Raises:
      ValueError: it cannot be fetched, or is not that file.
      ImportError: pooch or tqdm is not installed.
    """
    pooch = require("pooch", extra="photos")
    download = pooch.HTTPDownloader(progressbar=True, timeout=_SECONDS)
    try:
        return pathlib.Path(pooch.retrieve(
            address, f"sha256:{sha256}", fname="face_landmarker.task",
            path=pooch.os_cache("deepmds_jax") if folder is None else folder, downloader=download))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise ValueError(f"face_model: MediaPipe's face_landmarker.task cannot be fetched from "
                         f"{address} ({_reason(error)}); fetch it on a machine that can, and give "
                         "--face_model=FILE") from error


def _reason(error: Exception) -> str:
    """What went wrong, in a few words: the libraries below put whole objects into their texts."""
    requests = require("requests", extra="photos")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"HTTP status {status}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_SECONDS} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "what came has another hash: damaged, or changed"
