"""A process with the heavy libraries loaded, of which one child is forked for each message.

Flower starts a program per message, and importing torch, MONAI and Opacus costs that
program seconds. This one has imported them already, and forks a template, which loads the
approved code (where exactly one bundle is approved) and forks a child that answers one
message and ends. Children share nothing with each other but what the template had loaded,
so a message can leave nothing behind for the next. When the list of approved code changes,
the template takes no more messages and another is forked: code whose approval was withdrawn
is in no process that answers later messages. A template that does not get ready is replaced
by one that loads no code, whose children load it for themselves. What a child runs is for
`client.node.approved_app` to say.

`client.node.prefork_client` is the program that Flower starts in its place: it hands over
its arguments and its outputs, waits, and ends as the child ended. If either of the two is
killed, the other ends too.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import random
import select
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from shared.runtime.libraries import load_libraries
from shared.runtime.supervisor import end_with_parent

LONGEST_REQUEST: Final = 65_536
#: How long loading the approved code may take; it takes a second.
READY_SECONDS: Final = 60.0
#: What a template tells.
READY, OUTDATED = b"r", b"o"
#: See `client.node.approved_app`.
CRASHED: Final = 97

Answer = Callable[[list[str]], int]


@dataclass(frozen=True)
class Template:
    """What children are forked of.

    Attributes
    ----------
    answer : callable
        Run in the child with the arguments of the program that asked; returns its exit code.
    is_outdated : callable
        Asked before each message; when true, another template is made for it.
    """

    answer: Answer
    is_outdated: Callable[[], bool]


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


@dataclass(frozen=True)
class _Process:
    """A template, and the pipe on which it tells how it is."""

    pid: int
    pidfd: int
    told: int


def serve(path: Path, prepare: Callable[[bool], Template], lost: Path | None = None) -> None:
    """Fork a child for each connection to a socket, until this process is ended.

    Parameters
    ----------
    path : Path
        Unix socket to make, in a folder that only its owner can enter.
    prepare : callable
        Run in the process that becomes the template: loads what its children shall have, or
        (False) nothing of the approved code.
    lost : Path, optional
        File to make when a child, or who asked for it, was killed: its message will never
        be answered.

    Raises
    ------
    ChildProcessError
        If the template was ended: whoever keeps this process running starts it again.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        outdated: dict[int, int] = {}
        loads = True
        while True:
            template = _start_template(listener, prepare, lost, loads)
            if _is_ready(template):
                loads = True
                _until_outdated(template, outdated, lost)
                outdated[template.pidfd] = template.pid
                continue
            os.kill(template.pid, signal.SIGKILL)
            os.waitpid(template.pid, 0)
            os.close(template.pidfd)
            os.close(template.told)
            if not loads:
                raise ChildProcessError("the template of the answering processes does not start")
            loads = False


def _start_template(
    listener: socket.socket, prepare: Callable[[bool], Template], lost: Path | None, loads: bool
) -> _Process:
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _as_template(listener, lambda: prepare(loads), lost, tell)
    os.close(tell)
    return _Process(pid, os.pidfd_open(pid), told)


def _is_ready(template: _Process) -> bool:
    """Wait until a template has loaded what it loads; not for one that hangs."""
    there, _, _ = select.select([template.told], [], [], READY_SECONDS)
    return bool(there) and os.read(template.told, 1) == READY


def _until_outdated(template: _Process, outdated: dict[int, int], lost: Path | None) -> None:
    """Wait until a template takes no more messages; see that earlier ones end well.

    Those are in `outdated`, their process numbers by their pidfds.

    Raises
    ------
    ChildProcessError
        If the template ended instead.
    """
    while True:
        there, _, _ = select.select([template.told, *outdated], [], [])
        for pidfd in set(there) & set(outdated):
            _, status = os.waitpid(outdated.pop(pidfd), 0)
            os.close(pidfd)
            if status != 0 and lost:
                lost.touch()  # with the messages that it was answering
        if template.told in there:
            word = os.read(template.told, 1)
            os.close(template.told)
            if word != OUTDATED:
                raise ChildProcessError("the template of the answering processes was ended")
            return


def _as_template(
    listener: socket.socket, prepare: Callable[[], Template], lost: Path | None, tell: int
) -> NoReturn:
    """Take messages until outdated, see the last of them answered, and end."""
    code = 1
    try:
        end_with_parent()
        template = prepare()
        os.write(tell, READY)
        with selectors.DefaultSelector() as waiting:
            _fork_per_message(listener, waiting, template, lost, tell)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _fork_per_message(
    listener: socket.socket,
    waiting: selectors.BaseSelector,
    template: Template,
    lost: Path | None,
    tell: int,
) -> None:
    waiting.register(listener, selectors.EVENT_READ)
    while waiting.get_map():
        for key, _ in waiting.select():
            if isinstance(key.data, _Child):
                if _end(key.data, waiting) and lost:
                    lost.touch()
            elif template.is_outdated():
                # The message stays in the queue of the socket, for the next template.
                waiting.unregister(listener)
                os.write(tell, OUTDATED)
                os.close(tell)
            else:
                connection, _ = listener.accept()
                _begin(connection, listener, waiting, template.answer, tell)


def _begin(
    connection: socket.socket,
    listener: socket.socket,
    waiting: selectors.BaseSelector,
    answer: Answer,
    tell: int,
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
            for key in waiting.get_map().values():
                if isinstance(key.data, _Child) and key.fd == key.data.pidfd:
                    os.close(key.fd)
                    key.data.connection.close()
            waiting.close()
            listener.close()
            os.close(tell)
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
    try:
        request = json.loads(data)
        if len(descriptors) != 2 or not isinstance(request["arguments"], list):
            raise ValueError("a request is a list of arguments and two outputs")
    except BaseException:
        for one in descriptors:
            os.close(one)
        raise
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


def _prepare(loads: bool) -> Template:
    """Load the approved code, in the place of this installation's own."""
    from client.node.approved_app import SITE, list_digest, load_approved
    from client.node.approved_app import main as start

    folder = Path(os.environ[SITE])
    before = list_digest(folder)
    loaded = load_approved(folder) if loads else None
    return Template(
        lambda arguments: start(arguments, loaded), lambda: list_digest(folder) != before
    )


def main() -> None:
    """Load the libraries and serve; the command line names the socket and the lost file."""
    end_with_parent()
    preload()
    serve(Path(sys.argv[1]), _prepare, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
