"""An Artifact: one BPF ELF object and the manifest inside it.

artifact = Artifact.read(Path("out.o").read_bytes())
artifact.digest        -> "sha256:…", of the ELF's bytes
artifact.manifest.maps -> how to read what the programs count
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property

from kubebpf.compiler.artifact.manifest import SECTION, Manifest, ManifestError


@dataclass(frozen=True)
class Artifact:
    """A compiled program.

    Args:
        elf: the bytes of the object file.
        manifest: what its `kubebpf.manifest` section says.
    """

    elf: bytes
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the hexadecimal digest of the ELF bytes."""
        return "sha256:" + hashlib.sha256(self.elf).hexdigest()

    @classmethod
    def read(cls, elf: bytes) -> Artifact:
        """Take an object file's bytes for an artifact.

        Raises:
            ManifestError: it is no 64-bit little-endian ELF, or has no manifest section.
        """
        return cls(elf, Manifest.from_json(section(elf, SECTION).rstrip(b"\0")))


def section(elf: bytes, name: str) -> bytes:
    """The contents of a named section of a 64-bit little-endian ELF.

    Raises:
        ManifestError: the bytes are not such an ELF, are cut short, or have no such section.
    """
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ManifestError("not a 64-bit little-endian ELF object")
    try:
        return _section(elf, name.encode())
    except (struct.error, IndexError) as error:
        raise ManifestError(f"the ELF object is cut short: {error}") from error


def _section(elf: bytes, name: bytes) -> bytes:
    # Elf64_Ehdr: e_shoff at 40, e_shentsize/e_shnum/e_shstrndx at 58. Elf64_Shdr: sh_name, sh_type, flags, addr, offset, size.
    (table,) = struct.unpack_from("<Q", elf, 40)
    entry, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * entry) for i in range(count)]
    base = headers[names][4]
    for header in headers:
        start = base + header[0]
        if elf[start : elf.index(b"\0", start)] == name:
            return elf[header[4] : header[4] + header[5]]
    raise ManifestError(f"the object has no section {name.decode()}: it was not made by kubebpf")
