"""A study as it comes in over a stream: onto the disk part by part, within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

from shared.inference.proto import osteofed_pb2 as pb
from shared.inference.service.statuses import NO_ROOM, refused
from shared.runtime.files import leaves_room
from shared.settings.serve import GrpcSettings

#: Bytes in a megabyte, as disks are sold.
MEGABYTE = 10**6


@dataclass
class IncomingStudy:
    """What has come so far; files are numbered in the order in which they came."""

    folder: Path
    settings: GrpcSettings
    options: pb.PredictOptions = field(default_factory=pb.PredictOptions)
    files: int = 0
    bytes: int = 0
    _open: BufferedWriter | None = None

    async def receive(self, requests: AsyncIterator[pb.PredictRequest]) -> None:
        """Take everything until the caller ends its side.

        Raises
        ------
        CallRefusedError
            ``study_too_large`` at the first byte or file past a limit, ``disk_full`` at the
            first part that would leave too little on the disk (`leaves_room`),
            ``wrong_order`` for options that come late or twice and for a last file that was not
            ended, ``no_study`` if no file came.
        """
        begun = False
        try:
            async for request in requests:
                part = request.WhichOneof("part")
                if part == "options" and not begun:
                    self.options = request.options
                elif part == "file":
                    await asyncio.to_thread(self._take, request.file)
                else:
                    raise refused(
                        "wrong_order",
                        "options come first and once, and then nothing but parts of files",
                    )
                begun = True
            if self._open is not None:
                raise refused(
                    "wrong_order", f"file {self.files} was not ended (`last` on its last part)"
                )
        finally:
            if self._open is not None:
                self._open.close()
        if not self.files:
            raise refused("no_study", "no file was sent (a study's DICOM files were expected)")

    def _take(self, part: pb.FilePart) -> None:
        """Write one part."""
        if self._open is None:
            self.files += 1
            if self.files > self.settings.study_files:
                raise refused(
                    "study_too_large", f"more than {self.settings.study_files} files in one study"
                )
            self._open = (self.folder / f"{self.files:06d}.dcm").open("wb")
        self.bytes += len(part.content)
        if self.bytes > self.settings.study_megabytes * MEGABYTE:
            raise refused(
                "study_too_large",
                f"more than {self.settings.study_megabytes:g} MB in one study",
            )
        if not leaves_room(self.folder, len(part.content)):
            raise refused("disk_full", NO_ROOM)
        self._open.write(part.content)
        if part.last:
            self._open.close()
            self._open = None
