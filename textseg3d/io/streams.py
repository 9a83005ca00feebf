"""Bytes of a file, inflated on the way, counted, capped and verified to their end."""

from __future__ import annotations

import bz2
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from isal import isal_zlib  # several times zlib's speed; verifies CRC and length as it does

from textseg3d.io.findings import FindingLog, enforced

enforced("N1", "stream", "as many bytes as the header declares")
enforced("N2", "stream", "compressed data decode without error to the end of the file")
enforced("N3", "stream", "checksum and length of the compressed stream agree")
enforced("N8", "stream", "the compressed stream holds no more than it declares")

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_MAX_RATIO = 1032
_INFLATE_ERRORS: tuple[type[Exception], ...] = (isal_zlib.error, OSError, EOFError)  # type: ignore[assignment]
_IN_BYTES = 1 << 20
_OUT_BYTES = 1 << 22
_EXTRA_LIMIT = 16 << 20


def describe_unreadable(error: BaseException) -> str:
    """A short reason for an OSError or ValueError on opening a path."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot be opened ({reason}); give an existing, readable file or folder"


class ByteStream:
    """A file read front to back, with gzip, zlib or bzip2 inflated on the way.

    Every shortfall or damage is a rejection in the log: N1 too few bytes, N2 damaged compressed
    data, N3 wrong checksum, N8 far more data than declared.

    Args:
        path: the file.
        log: where rejections go.
        encoding: "raw", "gzip", "zlib", "bzip2", or "sniff" (gzip if it starts like gzip).
        offset: bytes of the file to leave out in front.
        size: bytes of the file to use from there (default: to its end).
    """

    def __init__(
        self,
        path: Path,
        log: FindingLog,
        *,
        encoding: str = "sniff",
        offset: int = 0,
        size: int | None = None,
    ) -> None:
        self.path = path
        self.log = log
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
            available = os.fstat(self._file.fileno()).st_size - offset
        except (OSError, ValueError) as error:
            log.reject("N26", describe_unreadable(error))
        self.stored_bytes = max(0, available if size is None else min(size, available))
        if encoding == "sniff":
            encoding = "gzip" if self._file.read(2) == GZIP_MAGIC else "raw"
        self._file.seek(offset)
        self._left = self.stored_bytes
        self.encoding = encoding
        self._decoder: Any = None if encoding == "raw" else self._new_decoder()
        self._held = b""
        self._pushed_back = b""
        self.position = 0

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def expect(self, size_bytes: int) -> None:
        """Reject, before anything is allocated, what this file cannot possibly hold.

        Args:
            size_bytes: inflated bytes that are still to come according to the header.
        """
        total = self.position + size_bytes
        if self.encoding == "raw" and total > self.stored_bytes:
            self.log.reject(
                "N1",
                f"truncated: the header declares {total} bytes, the file has "
                f"{self.stored_bytes}; copy or download it again",
            )
        if (
            self.encoding in ("gzip", "zlib")
            and total > DEFLATE_MAX_RATIO * self.stored_bytes + 4096
        ):
            self.log.reject(
                "N1",
                f"truncated: the header declares {total} bytes, which {self.stored_bytes} "
                "compressed bytes cannot hold; copy or download it again",
            )

    def peek(self, size: int) -> bytes:
        """Up to `size` of the coming bytes, without consuming them."""
        parts, have = [], 0
        while have < size:
            part = self._pull(size - have)
            if not part:
                break
            parts.append(part)
            have += len(part)
        data = b"".join(parts)
        self._pushed_back = data + self._pushed_back
        self.position -= len(data)
        return data

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes (small reads: headers)."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, target: memoryview) -> None:
        """Fill `target` completely, or reject with N1."""
        view = target.cast("B")
        done, size = 0, len(view)
        while done < size:
            if self._decoder is None and not self._pushed_back:
                got = self._file.readinto(view[done : done + min(self._left, size - done)])  # type: ignore[attr-defined]
                self._left -= got
                self.position += got
            else:
                part = self._pull(size - done)
                got = len(part)
                view[done : done + got] = part
            if got == 0:
                self._short(size - done)
            done += got

    def skip(self, size: int) -> None:
        """Read past `size` bytes, or reject with N1."""
        left = size
        while left > 0:
            part = self._pull(min(left, _OUT_BYTES))
            if not part:
                self._short(left)
            left -= len(part)

    def finish(self) -> int:
        """Read to the end, so that every checksum has been verified.

        Returns:
            how many bytes came after what was asked for.
        """
        extra = 0
        if self._decoder is None:
            extra = len(self._pushed_back) + self._left
            self._pushed_back, self._left = b"", 0
        while part := self._pull(_OUT_BYTES):
            extra += len(part)
            if extra > _EXTRA_LIMIT:
                self.log.reject(
                    "N8",
                    f"the compressed stream goes on for more than {_EXTRA_LIMIT} bytes after the "
                    "declared data (decompression bomb?); write the file anew",
                )
        self.log.passed("stream")
        return extra

    def _short(self, missing: int) -> None:
        self.log.reject(
            "N1",
            f"truncated: the data end {missing} bytes too early, after {self.position} bytes; "
            "copy or download it again",
        )

    def _new_decoder(self) -> Any:
        if self.encoding == "bzip2":
            return bz2.BZ2Decompressor()
        return isal_zlib.decompressobj(wbits=31 if self.encoding == "gzip" else 15)

    def _pull(self, want: int) -> bytes:
        """Between 1 and `want` inflated bytes, or b"" at the end."""
        if self._pushed_back:
            part, self._pushed_back = self._pushed_back[:want], self._pushed_back[want:]
        elif self._decoder is None:
            part = self._file.read(min(want, self._left, _OUT_BYTES))
            self._left -= len(part)
        else:
            part = self._inflate(min(want, _OUT_BYTES))
        self.position += len(part)
        return part

    def _inflate(self, want: int) -> bytes:
        while True:
            if self._decoder.eof:
                if not self._next_member():
                    return b""
                continue
            if not self._held and (self.encoding != "bzip2" or self._decoder.needs_input):
                self._held = self._file.read(min(_IN_BYTES, self._left))
                self._left -= len(self._held)
            try:
                part = self._decoder.decompress(self._held, want)
            except _INFLATE_ERRORS as error:
                self._damaged(error)
            starved = not self._held
            self._held = b"" if self.encoding == "bzip2" else self._decoder.unconsumed_tail
            if part:
                return bytes(part)
            if starved and not self._decoder.eof:
                self.log.reject(
                    "N1",
                    f"truncated: the {self.encoding} stream stops before its end mark, after "
                    f"{self.position} bytes; copy or download it again",
                )

    def _next_member(self) -> bool:
        """Go on with a further gzip member; False at the end of the file."""
        more = self._file.read(min(_IN_BYTES, self._left))
        self._left -= len(more)
        rest = self._decoder.unused_data + more
        if not rest.strip(b"\0"):
            return False
        if self.encoding == "gzip" and rest[:2] == GZIP_MAGIC:
            self._decoder = self._new_decoder()
            self._held = rest
            return True
        self.log.add("N2", "warn", f"bytes after the end of the {self.encoding} stream, ignored")
        self._left = 0
        self._decoder = _Ended()
        return False

    def _damaged(self, error: Exception) -> None:
        text = str(error).lower()
        if any(word in text for word in ("checksum", "data check", "length check")):
            self.log.reject(
                "N3",
                f"damaged: checksum of the {self.encoding} stream is wrong, so some voxels are "
                "not what was written; copy or download it again",
            )
        self.log.reject(
            "N2",
            f"damaged: the {self.encoding} stream does not decode ({error}); "
            "copy or download it again",
        )


class _Ended:
    """Stands for a decoder whose stream is over."""

    eof = True
    unused_data = b""
