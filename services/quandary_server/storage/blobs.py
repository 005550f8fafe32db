"""Clouds by URI."""

import errno
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from quandary.clouds import cloud_from_bytes
from quandary.errors import InvalidArgument, NotFound, TooLarge, Unavailable, Violation
from quandary_server.storage.extras import needed

__all__ = ["MAX_CLOUD_BYTES", "read_cloud"]

MAX_CLOUD_BYTES = 64 * 2**20
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def read_cloud(uri: str, *, max_bytes: int = MAX_CLOUD_BYTES) -> NDArray[np.float32]:
    """Return the points (N, 4) of the cloud at a file: URI, as `cloud_from_bytes` does, or at an mcap: URI.

    Raises InvalidArgument for another scheme, a malformed URI or cloud, or what is no regular file; NotFound if there is
    none; TooLarge over `max_bytes`; Unavailable if it cannot be read; for mcap: URIs what `read_mcap_cloud` does. All name the
    URI.
    """
    if uri.startswith("mcap:"):
        with needed("mcap", "to read clouds inside MCAP files"):
            from quandary_server.storage.mcap_clouds import read_mcap_cloud
        return read_mcap_cloud(uri, max_bytes=max_bytes)
    path = file_path(uri)
    try:
        found = path.stat()
        # A pipe would never end, a device never say how long it is.
        if not stat.S_ISREG(found.st_mode):
            raise InvalidArgument.of("cloud_uri", uri, "the URI of a regular file")
        if found.st_size > max_bytes:
            violation = Violation("cloud_uri", f"{uri} of {found.st_size} bytes", f"a cloud of at most {max_bytes} bytes")
            raise TooLarge(str(violation), violations=[violation])
        data = path.read_bytes()
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise NotFound(f"there is no cloud at {uri}") from None
        raise Unavailable(f"the cloud at {uri} cannot be read: {error.strerror}") from error
    return cloud_from_bytes(data, uri)


def file_path(uri: str) -> Path:
    """Return the path of a file: URI (RFC 8089). Raises InvalidArgument for any other URI."""
    bound = "file:///PATH, percent-encoded"
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise InvalidArgument.of("cloud_uri", uri, bound) from None
    local = parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
    if not local or not path.startswith("/") or "\0" in path:
        raise InvalidArgument.of("cloud_uri", uri, bound)
    return Path(path)
