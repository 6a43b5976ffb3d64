"""What a file really is. Nothing opens, converts or serves an image before this has said yes.

Formats are never guessed for use: the caller says what the file should be, and the file must be
exactly that. oslo.utils' inspectors look at every byte while it streams by; ``headers`` then checks
what only the complete file can show.
"""

from typing import Any, cast

from oslo_utils.imageutils import format_inspector

from nova_async import log
from nova_async.errors import Error, Invalid, plain
from nova_async.services.image import headers

RAW = frozenset({frozenset({"raw"}), frozenset({"gpt"})})  # a partition table (MBR or GPT) is the start of a raw disk

# disk_format as declared -> what the inspectors may find in it.
ACCEPTED: dict[str, frozenset[frozenset[str]]] = {
    "raw": RAW,
    "ami": RAW,
    "aki": RAW,
    "ari": RAW,
    "iso": frozenset({frozenset({"iso"}), frozenset({"iso", "gpt"})}),  # hybrid: boots from a disc and from a stick
    "qcow2": frozenset({frozenset({"qcow2"})}),
    "vmdk": frozenset({frozenset({"vmdk"})}),
    "vdi": frozenset({frozenset({"vdi"})}),
    "vhd": frozenset({frozenset({"vhd"})}),
    "vhdx": frozenset({frozenset({"vhdx"})}),
}

# Formats that some tool would recognise although the inspectors do not, or not when the file is short: offset, bytes, name.
MARKS = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\x00", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (0x8001, b"CD001", "iso"),
)
HEAD = 0x8006
SLICE = 65_536  # bytes; the inspectors miss a VHDX's size when its table and its value come in one piece
logger = log.get("image")


class Inspection:
    """Of one file, declared to be ``disk_format``. The methods block for about a millisecond per MiB."""

    def __init__(self, disk_format: str, max_virtual_size: int) -> None:
        if disk_format not in ACCEPTED:
            raise Invalid(f"Images of the format {disk_format} are not accepted; use one of {', '.join(ACCEPTED)}.")
        self._format, self._max_virtual_size = disk_format, max_virtual_size
        self._source = _Source()
        expected = None if self._is_raw else disk_format
        self._wrapper = format_inspector.InspectWrapper(cast(Any, self._source), expected_format=expected)
        self._head = b""

    @property
    def _is_raw(self) -> bool:
        return ACCEPTED[self._format] is RAW

    def feed(self, chunk: bytes) -> None:
        """Raises ``Invalid`` as soon as the bytes cannot be what they should be."""
        if len(self._head) < HEAD:
            self._head += chunk[: HEAD - len(self._head)]
        try:
            for start in range(0, len(chunk), SLICE):
                self._source.chunk = chunk[start : start + SLICE]
                self._wrapper.read(SLICE)
        except Exception as error:  # whatever hostile bytes do to a parser, they are refused
            raise self._mismatch(plain(error)) from None

    def finish(self, file: int, size: int) -> int:
        """The virtual size in bytes of the complete file open as ``file``. Raises ``Invalid``."""
        try:
            virtual_size = self._judge(file, size)
        except Error:
            raise
        except Exception as error:  # as above
            raise self._mismatch(plain(error)) from None
        if virtual_size > self._max_virtual_size:
            raise Invalid(f"The image's virtual size of {virtual_size} bytes is over the limit of {self._max_virtual_size} bytes.")
        return virtual_size

    def _judge(self, file: int, size: int) -> int:
        self._wrapper.close()
        found = {inspector.NAME: inspector for inspector in self._wrapper.formats or []}
        if frozenset(found) not in ACCEPTED[self._format]:
            raise self._mismatch(f"found {sorted(found)}")
        if self._is_raw:
            self._refuse_marks()
            return size
        if self._format == "iso":
            return max(size, found["iso"].virtual_size)
        inspector = found[self._format]
        self._check_safety(inspector)
        try:
            return max(inspector.virtual_size, headers.CHECKS[self._format](file, size, inspector))
        except headers.Unsafe as reason:
            raise Invalid(f"The image is refused: {reason}.") from None

    def _refuse_marks(self) -> None:
        for offset, mark, name in MARKS:
            if self._head[offset : offset + len(mark)] == mark:
                raise self._mismatch(f"marked as {name}")

    def _check_safety(self, inspector: Any) -> None:
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as error:
            reasons = ", ".join(sorted(str(f) for f in error.failures.values()))
            raise Invalid(f"The image is refused: {reasons}.") from None

    def _mismatch(self, detail: str) -> Invalid:
        logger.warning("image.refused", declared=self._format, reason=detail)
        return Invalid(f"The data are not a whole and safe image of the declared disk_format {self._format}.", detail=detail)


class _Source:
    """Hands the inspectors what ``feed`` was given."""

    chunk = b""

    def read(self, _: int) -> bytes:
        return self.chunk
