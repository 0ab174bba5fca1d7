"""A small process that cleans up after one that was killed and could not do it itself.

Whoever starts processes ends them itself, also on Ctrl-C; SIGKILL and the out-of-memory
killer leave no time for that. The keeper holds the other end of a pipe: when that closes
without a word, it ends everything that carries the mark and removes the temporary folder.
The kernel's own signal (`shared.runtime.supervisor.end_with_parent`) reaches only children, not
what they started in turn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.runtime.processes import end_marked, own_module

DONE: Final = b"done"
#: How long marked processes may take to end by themselves.
PATIENCE_SECONDS: Final = 1.0
#: How long the keeper may take to end once it is told that there is nothing to do.
GOODBYE_SECONDS: Final = 10.0


@contextlib.contextmanager
def cleaned_up_if_killed(variable: str, token: str, folder: Path) -> Iterator[None]:
    """Have marked processes ended and a folder removed if this process dies in the block.

    Parameters
    ----------
    variable, token : str
        The mark, see `shared.runtime.processes`.
    folder : Path
        Temporary folder of this process; removed with all that it holds. A block that
        ends, with or without an error, cleans up itself: the keeper then does nothing.
    """
    command, environment = own_module("shared.runtime.orphan_cleanup", os.environ)
    keeper = subprocess.Popen(
        [*command, variable, token, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A session of its own: what kills this process's group must not reach the keeper.
        start_new_session=True,
    )
    try:
        yield
    finally:
        try:
            keeper.communicate(DONE, timeout=GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()


def main() -> None:
    """Wait for the pipe to close; clean up if nothing was said. Arguments: see above."""
    variable, token, folder = sys.argv[1:]
    if sys.stdin.buffer.read() == DONE:
        return
    end_marked(variable, token, PATIENCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
