"""Has the warm process answer a message. Flower starts this for each one: it imports little.

Run as a file by ``python -I -S``; it may import nothing of ours and nothing installed.
Arguments: the socket of `client.node.prefork_server`, the cold command, ``--``, Flower's arguments.
Where no warm process answers, the cold command is started in this one's place.
"""

import array
import json
import os
import socket
import sys


def main() -> None:
    """Hand over and wait."""
    cut = sys.argv.index("--")
    path, cold, arguments = sys.argv[1], sys.argv[2:cut], sys.argv[cut + 1 :]
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        request = {"arguments": arguments, "environment": dict(os.environ)}
        outputs = array.array("i", [1, 2])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, outputs)]
        connection.sendmsg([json.dumps(request).encode()], rights)
    except OSError:
        os.execv(cold[0], [*cold, *arguments])  # noqa: S606 - our own cold program
    code = connection.recv(1)
    # Nothing came: the warm process was ended, and the child with it.
    sys.exit(code[0] if code else 1)


if __name__ == "__main__":
    main()
