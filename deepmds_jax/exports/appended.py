"""Metadata behind the program in a file, as a zip archive with one entry.

A flatbuffer is read from its front and a zip archive from its end, so that one file is both;
TensorFlow Lite's own metadata tools do the same.
"""

import io
import json
import zipfile
from collections.abc import Mapping

_ENTRY = "metadata.json"


def append_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with metadata."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        # A fixed date, or no two exports would be equal.
        entry = zipfile.ZipInfo(_ENTRY, (1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, json.dumps(dict(metadata), indent=1))
    return buffer.getvalue()


def read_appended(data: bytes) -> dict[str, str]:
    """The metadata of a file that `append_metadata` made.

    Raises:
      ValueError: it did not make it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return json.loads(archive.read(_ENTRY))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"no metadata of ours: {error}") from error
