"""Processes forked from one that has everything loaded, so that none of them imports it anew.

A process may only be forked safely while it has one thread, and one that serves soon has
many. So it forks a server first, which does nothing else than fork again whenever it is
asked to. Each child serves one connection and ends with it; server and children end with
whoever made them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from shared.runtime.supervisor import end_with_parent

Serve = Callable[[Connection], None]


class ForkServer:
    """Forks children that serve a connection each.

    Make it before the process has a second thread.

    Parameters
    ----------
    serve : callable
        Run in each child, with its end of the connection. What it raises goes to the
        child's error output and closes the connection.
    """

    def __init__(self, serve: Serve) -> None:
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            with _last_words():
                self._asking.close()
                _fork_when_asked(asked, serve)
        asked.close()

    def child(self) -> Connection:
        """Have a child forked; return our end of its connection.

        When the child ends, or is killed, reading from it raises EOFError.
        """
        ours, its = socket.socketpair()
        with its:
            socket.send_fds(self._asking, [b"1"], [its.fileno()])
        return Connection(ours.detach())


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """End the process after the block, whatever happens in it; it is a fork of another."""
    code = 1
    try:
        yield
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _fork_when_asked(asked: socket.socket, serve: Serve) -> None:
    end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        word, connections, _, _ = socket.recv_fds(asked, 1, 1)
        if not word:
            return
        [connection] = connections
        try:
            child = os.fork()
        except OSError:  # no room now: whoever asked sees a connection that ends
            os.close(connection)
            continue
        if child == 0:
            with _last_words():
                asked.close()
                end_with_parent()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve(Connection(connection))
        os.close(connection)
