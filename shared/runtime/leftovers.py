"""What a killed command left behind is ended before the command starts anew.

The kernel ends the children of a command that was killed (`shared.runtime.supervisor`), but not
what they started in turn: nginx's worker keeps the port, Flower's starter of programs goes
on asking. They are known by the folder they were started for, which their environment
names, or by the log that their standard output is appended to: nginx writes its title over
its environment. Neither can be said of a process that is somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil

from shared.errors import NotPermittedError, RuntimeUnavailableError

#: Names, in the environment of everything that is kept running, the folder it serves.
STARTED_FOR: Final = "OSTEOFED_STARTED_FOR"
#: How long killed processes may take to be gone, and how often they are looked for.
END_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.1


@contextlib.contextmanager
def only_one(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file for the block; the kernel lets go of it when the process ends.

    Raises
    ------
    RuntimeUnavailableError
        With the refusal, if another process holds it.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeUnavailableError(refusal) from None
        except OSError as error:  # a file system without locks: the caller looks otherwise too
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield


def left_behind(folder: Path, logs: Iterable[Path]) -> list[psutil.Process]:
    """Find live processes that were started for a folder; this one's family excepted.

    Parameters
    ----------
    folder : Path
        As `STARTED_FOR` names it.
    logs : iterable of Path
        Where the outputs of what was started are appended.
    """
    family = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    written = [_names_of(log) for log in logs]
    found = []
    for process in psutil.process_iter():
        if process.pid in family:
            continue
        # A process of somebody else, or one that just ended, is none of ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE or not _sees_our_files(process.pid):
                continue
            # Anybody may give a process of theirs such an environment.
            own = process.uids().real == os.geteuid()
            named = own and process.environ().get(STARTED_FOR) == str(folder)
            if named or _appends_to(process.pid, written):
                found.append(process)
    return found


def end_leftovers(folder: Path, logs: Iterable[Path]) -> int:
    """End what an earlier command left behind; tell how many there were.

    Raises
    ------
    RuntimeUnavailableError
        If one of them cannot be ended, naming it.
    """
    logs = list(logs)
    seen: set[int] = set()
    latest = time.monotonic() + END_SECONDS
    # What is being ended may start others meanwhile, hence more than one look.
    while left := left_behind(folder, logs):
        for process in left:
            seen.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        if time.monotonic() > latest:
            raise RuntimeUnavailableError(
                f"{folder}: {_named(left)} was left behind by a killed command and cannot be "
                "ended by this user; end it as the user who started it, or as root"
            )
        time.sleep(LOOK_SECONDS)
    return len(seen)


def require_free(host: str, port: int) -> None:
    """Do nothing if a port can be listened on.

    Raises
    ------
    RuntimeUnavailableError
        Naming the process that holds it.
    NotPermittedError
        If this user may not listen on it.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:
        raise RuntimeUnavailableError(
            f"{host}: cannot be listened on ({error}); give an address of this machine with --host"
        ) from None
    with made as probe:
        # As nginx does: connections that are only winding down do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            return
        except OSError as error:
            failed = error
    if failed.errno == errno.EADDRINUSE:
        raise RuntimeUnavailableError(
            f"port {port} is held by {holder_of(port) or 'a process that does not listen on it'}; "
            "end it, or give another port with --port"
        )
    if failed.errno == errno.EACCES:
        raise NotPermittedError(
            f"port {port} may not be opened by this user; give one from 1024 on with --port"
        )
    raise RuntimeUnavailableError(f"{host}:{port} cannot be listened on ({failed.strerror})")


def holder_of(port: int) -> str:
    """Name the processes that listen on a port, as a sentence does; empty: there is none."""
    with contextlib.suppress(psutil.Error, OSError):
        listening = [
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        ]
        holders = []
        for pid in sorted({pid for pid in listening if pid}):
            with contextlib.suppress(psutil.NoSuchProcess):
                holders.append(psutil.Process(pid))
        if holders or not listening:
            return _named(holders)
    return f"a process of another user (root sees which: ss -ltnp 'sport = :{port}')"


def _named(processes: list[psutil.Process]) -> str:
    said = []
    for process in processes:
        name = "a process"
        with contextlib.suppress(psutil.Error):
            name = "".join(c for c in process.name() if c.isprintable())
        said.append(f"{name} (pid {process.pid})")
    return ", ".join(said)


def _sees_our_files(pid: int) -> bool:
    """Tell whether a folder's name means the same to a process: not in another container."""
    try:
        theirs = Path(f"/proc/{pid}/ns/mnt").readlink()
        return theirs == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return True


def _names_of(log: Path) -> re.Pattern[str]:
    """A log by its name, also after it was rotated or deleted."""
    return re.compile(re.escape(str(log)) + r"(\.\d+)?( \(deleted\))?")


def _appends_to(pid: int, logs: list[re.Pattern[str]]) -> bool:
    """Tell whether a process's standard output is appended to one of the logs (Linux)."""
    try:
        target = str(Path(f"/proc/{pid}/fd/1").readlink())
        if not any(log.fullmatch(target) for log in logs):
            return False
        told = Path(f"/proc/{pid}/fdinfo/1").read_text(encoding="ascii")
    except (OSError, ValueError):
        return False
    flags = re.search(r"^flags:\s*([0-7]+)$", told, re.MULTILINE)
    return flags is not None and bool(int(flags.group(1), 8) & os.O_APPEND)
