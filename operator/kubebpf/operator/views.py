"""The types of other kernels, as agents have uploaded them: kept compressed in files, read in the compiler's process alone.

    views = Views(Path("/tmp/kernel-types"))
    views.keep("sha256:1f…", b"\\xfd7zXZ…")         in the operator: bytes that nobody has looked into
    read_types(views.path("sha256:1f…"), "sha256:1f…")      in the compiler's process: unpacked, bounded, compared with the digest

An agent is not trusted with them: the name of a file is the digest that its contents should have, and whoever reads it compares.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

from kubebpf.compiler.kernel.btf import BtfError

PACKED_LIMIT = 16 << 20  # bytes of one upload; a kernel's types take 6 MB, and 1.3 MB of xz
TYPES_LIMIT = 64 << 20  # bytes of it, unpacked
LZMA_MEMORY = 128 << 20  # bytes that unpacking may take: xz -9 wants 65 MiB
MOST_FILES = 16
MOST_BYTES = 64 << 20  # of all files together

PAUSE = 60.0  # seconds before an upload that was no good is asked for again

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class UploadError(BtfError):
    """The upload is not what its digest says: another agent's may be."""


class Views:
    """A bounded folder of uploads, by digest. Losing it costs a little time: what was lost is joined from its pieces again."""

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            # A name that cannot be guessed, so nobody waits there with a link.
            folder = Path(tempfile.mkdtemp(prefix="kubebpf-kernel-types-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._folder = folder
        self._spoilt: dict[str, tuple[str, float]] = {}

    def path(self, digest: str) -> Path:
        """The file of a digest, whether it is there or not.

        Raises:
            ValueError: that is no digest.
        """
        found = _DIGEST.fullmatch(digest)
        if not found:
            raise ValueError(f"{digest[:80]!r} is no digest")
        return self._folder / f"{found[1]}.xz"

    def has(self, digest: str) -> bool:
        """Whether the types of that digest are here."""
        return self.path(digest).is_file()

    def keep(self, digest: str, packed: bytes) -> None:
        """Store an upload, whole or not at all; the files that were not wanted for longest go when there are too many.

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room(len(packed), self.path(digest))
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(packed)
            Path(name).replace(self.path(digest))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def use(self, digest: str) -> None:
        """Something is compiled against it: it is among the last to go."""
        with suppress(OSError):
            os.utime(self.path(digest))

    def reject(self, digest: str, why: str) -> None:
        """Remove it: it is not what it should be."""
        self.path(digest).unlink(missing_ok=True)
        self._spoilt[digest] = why, time.monotonic() + PAUSE

    def spoilt(self, digest: str) -> str:
        """What was wrong with the last upload, "" when nothing was, or when it is time for another one."""
        why, until = self._spoilt.get(digest, ("", 0.0))
        return why if time.monotonic() < until else ""

    def _make_room(self, size: int, but: Path) -> None:
        files = sorted((file for file in self._folder.glob("*.xz") if file != but), key=lambda file: file.stat().st_mtime)
        total = size + sum(file.stat().st_size for file in files)
        while files and (len(files) >= MOST_FILES or total > MOST_BYTES):
            total -= files[0].stat().st_size
            files.pop(0).unlink(missing_ok=True)


def read_types(path: Path, digest: str) -> bytes:
    """The unpacked types of an upload. Their own form is not looked at.

    Raises:
        UploadError: it unpacks to nothing or to too much, or is not what its digest says.
        BtfError: the file is missing.
    """
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)
    try:
        data = unpack.decompress(path.read_bytes(), TYPES_LIMIT + 1)
    except OSError as error:
        raise BtfError(f"the uploaded types cannot be read: {error.strerror}") from error
    except lzma.LZMAError as error:
        raise UploadError(f"the uploaded types cannot be unpacked: {error}") from error
    if len(data) > TYPES_LIMIT:
        raise UploadError(f"the uploaded types have more than {TYPES_LIMIT} bytes")
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise UploadError("the uploaded types do not have the digest that they should")
    return data
