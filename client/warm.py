"""A process with the heavy libraries loaded, which forks one child for each message.

Flower starts a program per message, and importing torch, MONAI and Opacus costs that
program seconds. This one has imported them already: it forks a child that answers one
message and ends. Children share nothing with each other but the libraries, so a message
can leave nothing behind for the next. None of our own packages is loaded before the
fork: the code that answers is that of the approved bundle (`client.start_app`).

`client.ask_warm` is the program that Flower starts in its place: it hands over its
arguments and its outputs, waits, and ends as the child ended. If either of the two is
killed, the other ends too.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import random
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.libraries import load_libraries
from shared.supervise import end_with_parent

LONGEST_REQUEST: Final = 65_536
#: See `client.start_app`.
CRASHED: Final = 97

Answer = Callable[[list[str]], int]


@dataclass(frozen=True)
class _Child:
    """A child at work, and the connection that waits for it."""

    pid: int
    pidfd: int
    connection: socket.socket


def preload() -> None:
    """Import what answering a message imports.

    What is missing or broken is left to the child, which says so in its answer.
    """
    with contextlib.suppress(Exception):
        import flwr.clientapp
        import flwr.supernode.cli
        import flwr.supernode.runtime.run_clientapp  # noqa: F401
    load_libraries()


def serve(path: Path, answer: Answer, lost: Path | None = None) -> None:
    """Fork a child for each connection to a socket, until this process is ended.

    Parameters
    ----------
    path : Path
        Unix socket to make, in a folder that only its owner can enter.
    answer : callable
        Run in the child with the arguments of the program that asked; returns its
        exit code.
    lost : Path, optional
        File to make when a child, or who asked for it, was killed: its message will never
        be answered.
    """
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as waiting:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        waiting.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    _begin(connection, listener, waiting, answer)
                elif isinstance(key.data, _Child) and _end(key.data, waiting) and lost:
                    lost.touch()


def _begin(
    connection: socket.socket,
    listener: socket.socket,
    waiting: selectors.BaseSelector,
    answer: Answer,
) -> None:
    """Take one request and fork; whoever asks nonsense is sent away."""
    try:
        request, outputs = _receive(connection)
    except (OSError, ValueError, KeyError):
        connection.close()
        return
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            waiting.close()
            listener.close()
            connection.close()
            code = _as_child(request, outputs, answer)
        except BaseException as error:
            left = error.code if isinstance(error, SystemExit) else 1
            code = left if isinstance(left, int) else int(left is not None)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    for output in outputs:
        os.close(output)
    child = _Child(pid, os.pidfd_open(pid), connection)
    waiting.register(child.pidfd, selectors.EVENT_READ, child)
    # The program that asked says nothing more: something to read means that it ended.
    waiting.register(connection, selectors.EVENT_READ, child)


def _end(child: _Child, waiting: selectors.BaseSelector) -> bool:
    """The child ended, or who asked for it did: end both, hand on the exit code.

    Tells whether one of them was killed, or broke before it could answer.
    """
    known = waiting.get_map().get(child.pidfd)
    if known is None or known.data is not child:
        return False  # both ended at once, and this is the second to say so
    waiting.unregister(child.pidfd)
    waiting.unregister(child.connection)
    code = -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        finished, status = os.waitpid(child.pid, os.WNOHANG)
        if finished == 0:
            os.kill(child.pid, signal.SIGKILL)
            _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            child.connection.send(bytes([code if 0 <= code < 256 else 128 - code]))
    child.connection.close()
    os.close(child.pidfd)
    return code < 0 or code == CRASHED


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    connection.settimeout(5.0)
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(2 * descriptors.itemsize)
    data, ancillary, _, _ = connection.recvmsg(LONGEST_REQUEST, room)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    request = json.loads(data)
    if len(descriptors) != 2 or not isinstance(request["arguments"], list):
        raise ValueError("a request is a list of arguments and two outputs")
    connection.settimeout(None)
    return request, list(descriptors)


def _as_child(request: dict[str, Any], outputs: list[int], answer: Answer) -> int:
    end_with_parent()
    for target, output in enumerate(outputs, start=1):
        os.dup2(output, target)
        os.close(output)
    os.environ.update({str(k): str(v) for k, v in request.get("environment", {}).items()})
    random.seed()  # the parent's state would be that of every child
    return answer([str(one) for one in request["arguments"]])


def _answer(arguments: list[str]) -> int:
    # By its name only after the fork: nothing of ours is loaded before.
    from client.start_app import main as start

    return start(arguments)


def main() -> None:
    """Load the libraries and serve; the command line names the socket and the lost file."""
    end_with_parent()
    preload()
    serve(Path(sys.argv[1]), _answer, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
