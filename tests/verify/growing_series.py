"""CT series that come in parts: the store ends with the whole, or says that it does not have it.

A series is cut into two to five parts, in stretches or slice by slice, which are sent in any order
with pauses of 1 to 120 s; one part may be lost, one may come twice. Pauses pass on a clock of the
check's own. Folders, ZIP files and the inbox are real; what DIMSE and DICOMweb receive is given
to the function that receives it.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.ingest.folder import IngestReport, ingest
from client.ingest.inbox import Inbox, take_inbox
from client.ingest.zip_archive import ingest_archive
from client.sources.arriving import ArrivingSeries
from client.sources.fetch import fetch_all
from client.sources.listen import Quiet
from client.sources.query import FoundStudy, Wanted
from client.store.catalogue import Volume
from client.store.site_store import SiteStore, init_site
from shared.seeds import numpy_generator
from shared.settings.files import SiteConfig
from shared.settings.pacs import ListenSettings, RetrySettings
from tests.shared.ct_samples import uid, write_ct
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic

SEED: Final = 25
ORDERS: Final = 200
BATCH: Final = 20
WAYS: Final = ("folder", "growing folder", "zip", "inbox", "dimse", "dicomweb", "pull")
#: Ways by which the files of a part that was set aside are still there when more comes.
KEEPS: Final = ("growing folder", "inbox", "dimse", "dicomweb", "pull")
SHAPE: Final = (16, 16)
AT_ONCE: Final = RetrySettings(attempts=1, first_wait_seconds=0.001, longest_wait_seconds=0.001)
PUSHED: Final = ("inbox", "dimse", "dicomweb")


@dataclass(frozen=True)
class Order:
    """How one series is sent: which slices in which part, and what happens to the parts.

    `said` is whether its headers count the acquisition, `parts` are indices of slices in the
    order in which they are sent, `pauses` seconds before each; `lost` parts never come. `quiet`
    is how long the listener waits for more of a CT, seconds.
    """

    way: str
    slices: int
    said: bool
    parts: tuple[tuple[int, ...], ...]
    pauses: tuple[float, ...]
    lost: tuple[int, ...] = ()
    quiet: float = 180.0

    @property
    def came(self) -> list[tuple[int, ...]]:
        """Parts that are sent, in order."""
        return [part for number, part in enumerate(self.parts) if number not in self.lost]

    @property
    def all_came(self) -> bool:
        """Whether every slice was sent."""
        return len({index for part in self.came for index in part}) == self.slices


def order_of(number: int) -> Order:
    """Draw an order; the same for the same number."""
    draw = numpy_generator(SEED, "growing series", number)
    slices = int(draw.integers(9, 16))
    count = int(draw.integers(2, 6))
    cuts = sorted(draw.choice(np.arange(1, slices), size=count - 1, replace=False).tolist())
    if draw.random() < 0.7:
        stretches = np.split(np.arange(slices), cuts)
    else:  # slice by slice, as several associations deliver them
        stretches = [np.arange(slices)[first::count] for first in range(count)]
    parts = [tuple(map(int, stretches[one])) for one in draw.permutation(count)]
    if draw.random() < 0.3:
        parts.insert(int(draw.integers(0, count + 1)), parts[int(draw.integers(0, count))])
    lost: tuple[int, ...] = ()
    if draw.random() < 0.3:
        lost = (int(draw.integers(0, len(parts))),)
    pauses = tuple(float(one) for one in draw.uniform(1, 120, len(parts)))
    said = bool(draw.random() < 0.4)
    quiet = float(draw.choice([20.0, ListenSettings().quiet_seconds_ct]))
    return Order(WAYS[number % len(WAYS)], slices, said, tuple(parts), pauses, lost, quiet)


@dataclass
class Sent:
    """A site, the files of a series, and the time on the check's clock."""

    room: Path
    order: Order
    now: float = 0.0
    files: list[Path] = field(default_factory=list)

    @property
    def site(self) -> Path:
        """The site folder."""
        return self.room / "site"

    def write(self) -> NDArray[np.int16]:
        """Write the whole series, and make the site; give its values."""

        def change(dataset: Dataset, _: int) -> None:
            if self.order.said:
                dataset.AcquisitionNumber = 1
                dataset.add_new("ImagesInAcquisition", "IS", str(self.order.slices))

        hu = numpy_generator(SEED, "hu").integers(-900, 1500, (self.order.slices, *SHAPE))
        self.files = write_ct(self.room / "all", hu.astype(np.int16), change=change)
        init_site(self.site, SiteConfig(site="riverside"))
        return hu.astype(np.int16)

    def folder_of(self, name: str, indices: Sequence[int]) -> Path:
        """Put slices into a folder."""
        folder = self.room / name
        folder.mkdir(exist_ok=True)
        for index in indices:
            shutil.copy(self.files[index], folder / self.files[index].name)
        return folder


def by_folder(sent: Sent, *, growing: bool) -> None:
    """Each part in a folder of its own, or all in one that grows."""
    for number, part in enumerate(sent.order.came):
        name = "export" if growing else f"part{number}"
        ingest(sent.site, sent.folder_of(name, part), workers=1)


def by_zip(sent: Sent) -> None:
    """Each part as a ZIP file."""
    for number, part in enumerate(sent.order.came):
        path = sent.room / f"part{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for index in part:
                archive.write(sent.files[index], sent.files[index].name)
        ingest_archive(sent.site, path, workers=1)


def by_push(sent: Sent) -> None:
    """Each file to the function that receives instances; the listener looks as time passes."""
    settings = ListenSettings(quiet_seconds_ct=sent.order.quiet)
    store = SiteStore.open(sent.site)
    store.close()
    inbox = Inbox(sent.site, store.secret, "pushed")
    quiet = Quiet(settings.quiet_seconds, lambda: sent.now)
    series = ArrivingSeries(settings.quiet_seconds, settings.quiet_seconds_ct)

    def look_until(then: float) -> None:
        while sent.now < then:
            sent.now = min(then, sent.now + 1.0)
            if due := quiet.due():
                for study in due:
                    inbox.finish(study)
                    series.forget(study)
                take_inbox(sent.site)

    for pause, part in zip(sent.order.pauses, sent.order.came, strict=False):
        look_until(sent.now + pause)
        for index in part:
            name = inbox.name_of(uid(1))
            inbox.deliver(uid(1), sent.files[index].read_bytes())
            series.look(name, sent.files[index])
            quiet.heard(name, series.wait(name))
    look_until(sent.now + 2 * settings.quiet_seconds_ct)


class Archive:
    """An archive that is being filled, as a nightly pull sees it."""

    name = "the archive"

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.there: set[int] = set()
        self.notes: list[str] = []

    def check(self) -> None:
        """Answer."""

    def find(self, wanted: Wanted) -> list[FoundStudy]:
        """Give the study, and how many instances it has by now."""
        return [FoundStudy(uid(1), len(self.there))] if self.there else []

    def fetch(self, study: FoundStudy, deliver: Callable[[str, bytes], bool]) -> None:
        """Give all that there is."""
        for index in sorted(self.there):
            deliver(study.study_uid, self.sent.files[index].read_bytes())

    def ready(self) -> Any:
        """Need nothing."""
        return nullcontext()


def by_pull(sent: Sent) -> None:
    """A pull each night, while the archive is being filled."""
    archive = Archive(sent)
    for part in sent.order.came:
        archive.there |= set(part)
        fetch_all(sent.site, archive, Wanted(), AT_ONCE)


def _in_this_process(*args: Any, **more: Any) -> IngestReport:
    return ingest(*args, **more | {"separate": False, "workers": 1})


def send(order: Order, room: Path) -> dict[str, Any]:
    """Send a series by an order into a site in a room; say what the store ends with.

    Returns
    -------
    dict
        ``slices`` that are stored, of ``of``; ``state``; ``all came``; and whether the voxels
        are the slices' own (``true``).
    """
    sent = Sent(room, order)
    hu = sent.write()
    # A process of its own for each study takes seconds, and no decoder crashes here.
    with patch("client.ingest.inbox.ingest", _in_this_process):
        if order.way in PUSHED:
            by_push(sent)
        elif order.way == "pull":
            by_pull(sent)
        elif order.way == "zip":
            by_zip(sent)
        else:
            by_folder(sent, growing=order.way == "growing folder")
    store = SiteStore.open(sent.site)
    with Session(store.engine) as session:
        rows = session.scalars(select(Volume)).all()
        found: dict[str, Any] = {
            "way": order.way, "slices": 0, "of": order.slices, "state": "none",
            "all came": order.all_came, "true": True,
        }  # fmt: skip
        for row in rows:
            kept = np.load(store.array_path(row.study, row.series, "hu"))
            first = round((float(row.origin.split()[2]) - 100.0) / 2.5)
            stride = max(1, round(row.slice_mm / 2.5))
            expected = hu[first::stride][: len(kept)]
            # Slices between which others are missing unevenly are resampled: they are no input's.
            true = bool(row.resampled) or (
                len(kept) == row.slices and bool(np.array_equal(kept, expected))
            )
            found |= {"slices": row.slices, "state": row.completeness, "true": true}
    store.close()
    return found


def is_right(found: dict[str, Any], way_keeps: bool) -> bool:
    """Whether a store ended as it must: whole, or not called whole; and no voxel is another's.

    Where all came and nothing was thrown away, a part must at least be known as one.
    """
    whole = found["slices"] == found["of"]
    if not found["true"] or (found["state"] == "whole" and not whole):
        return False
    return whole or not (found["all came"] and way_keeps) or found["state"] == "incomplete"


def made(first: int, tell: Tell) -> dict[str, Any]:
    """Send a batch of orders."""
    found = []
    for number in range(first, first + BATCH):
        tell(f"order {number}", (number - first) / BATCH)
        with tempfile.TemporaryDirectory() as room:
            found.append(send(order_of(number), Path(room)))
    return {"found": found}


def plan() -> Iterator[Planned]:
    """A run is twenty orders."""
    for first in range(0, ORDERS, BATCH):
        settings = [SEED, first, BATCH, WAYS, SHAPE]
        yield Planned(f"from-{first:03d}", digest_of(settings), partial(made, first))


def judge(runs: Runs) -> list[Line]:
    """Hold every order against what must be, and count the ends."""
    found = [one for run in runs.values() for one in run.figures["found"]]
    wrong = sum(not is_right(one, one["way"] in KEEPS) for one in found)
    called = sum(one["state"] == "whole" and one["slices"] < one["of"] for one in found)
    lines = [
        Line("a part that is called whole", f"{called} of {len(found)}", "none", called == 0),
        Line("orders that ended otherwise than they must", f"{wrong}", "none", wrong == 0),
    ]
    for what, some in (
        (
            "all slices sent by ways that keep what was set aside",
            [one for one in found if one["all came"] and one["way"] in KEEPS],
        ),
        ("all slices sent", [one for one in found if one["all came"]]),
        ("a part lost", [one for one in found if not one["all came"]]),
    ):
        ends = {
            "with all slices": sum(one["slices"] == one["of"] for one in some),
            "incomplete": sum(
                one["state"] == "incomplete" and one["slices"] < one["of"] for one in some
            ),
            "as received, completeness unknown": sum(
                one["state"] == "unknown" and one["slices"] < one["of"] for one in some
            ),
            "nothing kept, all set aside": sum(one["state"] == "none" for one in some),
        }
        lines += [
            Line(f"{what}: the store ends {how}", f"{count} of {len(some)}", "reported", holds=True)
            for how, count in ends.items()
        ]
    return lines


TOPIC: Final = Topic(
    "growing-series",
    "CT series that come in parts, in any order, end whole or are not called whole.",
    plan,
    judge,
)
