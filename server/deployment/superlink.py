"""``osteofed server up``: Flower's SuperLink on loopback, and nginx before it on the one port.

The SuperLink serves three interfaces on one port, and two of them ask nobody who they
are: whoever reaches ``/v1/control/`` starts runs and admits nodes. So it listens on
loopback only, and nginx publishes nothing but the exact paths of ``/v1/fleet/``, which
authenticate every node by its key. Whoever can log in to this machine can still reach
loopback: do not share it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.deployment.members import SUPERLINK, flwr_home, sync_nodes, write_connection
from server.deployment.pki import CA, SERVER, SERVER_KEY, facts_of_home
from server.deployment.readiness import UP, is_healthy, is_up
from shared.errors import RuntimeUnavailableError
from shared.runtime.files import make_private_folder, write_text_atomically
from shared.runtime.flower import SUPEREXEC, environment_for, free_port, program
from shared.runtime.leftovers import STARTED_FOR, end_leftovers, only_one, require_free
from shared.runtime.supervisor import Program, born_of, until_stopped

LOCK: Final = "up.lock"
#: Largest body: a model of 512 MB travels in pieces of 5 MB, so this is ample.
LARGEST_BODY: Final = "64m"
#: The SuperLink is asked for programs to start all the time, and has one a run: a second's
#: wait at a run's beginning instead of a request every 0.2 s through the whole of it.
STARTS_RARELY: Final = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1.0"}


@dataclass
class _Up:
    """What runs, and where."""

    folder: Path
    superlink: Program
    nginx: Program
    superlink_port: int
    host: str
    port: int
    synced: bool = False

    def step(self) -> None:
        """Start what has ended; tell ``up.json``; admit who is waiting."""
        started = self.superlink.look()
        started = self.nginx.look() or started
        if started:
            self.write()
        if not self.synced and is_healthy(self.superlink_port, self.folder):
            sync_nodes(self.folder)
            self.synced = True
            self.write()

    def write(self) -> None:
        facts = {
            "pid": os.getpid(),
            "born": born_of(os.getpid()),
            "ready": self.synced,
            "host": self.host,
            "port": self.port,
            "superlink": {
                "pid": self.superlink.pid,
                "port": self.superlink_port,
                "restarts": self.superlink.restarts,
            },
            "nginx": {"pid": self.nginx.pid, "port": self.port, "restarts": self.nginx.restarts},
        }
        write_text_atomically(self.folder / UP, json.dumps(facts, indent=1) + "\n")


def up(
    folder: Path,
    *,
    host: str = "0.0.0.0",  # noqa: S104
    port: int | None = None,
    begins: Callable[[], None] = lambda: None,
) -> None:
    """Serve a home until SIGINT or SIGTERM.

    Parameters
    ----------
    folder : Path
        The coordinator's home (`server.deployment.pki.make_home`).
    host, port : str and int
        Where nginx listens; by default every interface, at the port of the invitation.
    begins : callable
        Called once when nothing stands in the way, before the programs are started.

    Raises
    ------
    HomeMissingError
        If the folder is no home.
    RuntimeUnavailableError
        If nginx is missing, the port is taken (by whom is said), or it is up already.
    NotPermittedError
        If this user may not open the port.
    """
    folder = folder.resolve()
    address = str(facts_of_home(folder)["address"])
    port = port or int(address.rpartition(":")[2])
    refusal = f"{folder}: is up already; end that one first"
    if is_up(folder):
        raise RuntimeUnavailableError(refusal)
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nginx is None:
        raise RuntimeUnavailableError(
            "nginx: is not installed; install it (Debian: apt-get install nginx-light)"
        )
    with only_one(folder / LOCK, refusal):
        # One that was killed has left nginx's worker, which holds the port for nobody.
        end_leftovers(folder, logs_of(folder))
        require_free(host, port)
        running = _prepare(folder, nginx, host, port)
        begins()
        try:
            until_stopped(running.step)
        finally:
            running.nginx.end()
            running.superlink.end()
            (folder / UP).unlink(missing_ok=True)


def logs_of(folder: Path) -> tuple[Path, Path]:
    """Where what `up` keeps running writes: the SuperLink and nginx."""
    return folder / SUPERLINK / "superlink.log", folder / "nginx" / "nginx.log"


def _prepare(folder: Path, nginx: str, host: str, port: int) -> _Up:
    superlink_port = free_port()
    make_private_folder(folder / SUPERLINK)  # before anything is written into it
    write_connection(folder, superlink_port)
    environment = environment_for(flwr_home(folder)) | STARTS_RARELY | {STARTED_FOR: str(folder)}
    superlink_log, nginx_log = logs_of(folder)
    superlink, proxy = (
        _superlink(folder, superlink_port), _nginx(nginx, folder, host, port, superlink_port),
    )  # fmt: skip
    return _Up(
        folder,
        Program("superlink", superlink, environment, superlink_log, SUPEREXEC),
        Program("nginx", proxy, environment, nginx_log),
        superlink_port,
        host,
        port,
    )


def _superlink(folder: Path, port: int) -> list[str]:
    # Node authentication wants TLS, also on loopback.
    return [
        program("flower-superlink"), "--host", "127.0.0.1", "--port", str(port),
        "--ssl-certfile", str(folder / SERVER), "--ssl-keyfile", str(folder / SERVER_KEY),
        "--ssl-ca-certfile", str(folder / CA), "--enable-supernode-auth",
        "--disable-runtime-dependency-installation", "--isolation", "subprocess",
        "--database", str(folder / SUPERLINK / "state.db"),
    ]  # fmt: skip


def _nginx(nginx: str, folder: Path, host: str, port: int, superlink_port: int) -> list[str]:
    own = folder / "nginx"
    make_private_folder(own)
    path = own / "nginx.conf"
    text = nginx_configuration(
        folder=own, listen=f"{host}:{port}", certificate=folder / SERVER,
        key=folder / SERVER_KEY, authority=folder / CA, superlink_port=superlink_port,
        as_root=os.geteuid() == 0,
    )  # fmt: skip
    write_text_atomically(path, text)
    return [nginx, "-c", str(path), "-p", str(own), "-e", str(own / "error.log")]


def nginx_configuration(
    *,
    folder: Path,
    listen: str,
    certificate: Path,
    key: Path,
    authority: Path,
    superlink_port: int,
    as_root: bool = False,
) -> str:
    """Write nginx's configuration: TLS, and the exact paths of ``/v1/fleet/`` only.

    Parameters
    ----------
    folder : Path
        For its process number, logs and temporary files.
    listen : str
        HOST:PORT.
    certificate, key : Path
        Of the server.
    authority : Path
        By which the SuperLink's certificate is checked.
    superlink_port : int
        On loopback.
    as_root : bool
        Whether it is started by root; its workers then run as nobody.
    """
    user = "user nobody nogroup;\n" if as_root else ""
    temporary = "\n".join(
        f'    {kind}_temp_path "{folder}/{kind}";'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{user}daemon off;
worker_processes 1;
pid "{folder}/nginx.pid";
error_log "{folder}/error.log" warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server_tokens off;
    # Connections to the SuperLink are kept between requests: a model is many of them, and
    # each would begin with a TLS handshake. It closes idle ones after 5 s, so we do before.
    upstream superlink {{
        server 127.0.0.1:{superlink_port};
        keepalive 16;
        keepalive_timeout 3s;
    }}
{temporary}
    server {{
        listen {listen} ssl;
        ssl_certificate "{certificate}";
        ssl_certificate_key "{key}";
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        # Plain HTTP on this port is answered with nothing but the end of the line.
        error_page 497 =444 /;
        client_max_body_size {LARGEST_BODY};
        client_header_timeout 30s;
        client_body_timeout 300s;
        keepalive_timeout 75s;
        # The path as it was sent, before nginx makes sense of it: no tricks with dots,
        # doubled or encoded slashes.
        if ($request_uri !~ "^/v1/fleet/[a-z-]+$") {{ return 403; }}
        location /v1/fleet/ {{
            limit_except POST {{ deny all; }}
            proxy_pass https://superlink;
            proxy_set_header Connection "";
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate "{authority}";
            proxy_ssl_name localhost;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_http_version 1.1;
            # Nothing of what passes is written to this machine's disk by nginx.
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 300s;
            proxy_send_timeout 300s;
        }}
        location / {{ return 403; }}
    }}
}}
"""
