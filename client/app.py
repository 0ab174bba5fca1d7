"""The hospital's Flower ClientApp: finds the site folder and answers every message.

On a real node the folder stands in the node's own configuration (``site="path"``),
which the coordinator cannot set. In a simulation the run's file lists the folders,
and the node's partition says which is its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.round.refusals import (
    UNKNOWN_SITE,
    least_refusal,
    log_failure,
    refusal_of,
    write_refusal,
)
from shared.errors import ConfigError
from shared.protocol.messages import evaluate_answer, refusal_answer, train_answer

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from client.round.open_site import Site

app = ClientApp()


def load() -> None:
    """Import what answering imports, for processes that are forked of this one to answer.

    The code's digest is taken here too: files that an update puts in the place of these are not
    what has been imported.
    """
    import client.round.answer  # noqa: F401
    import shared.training.accounting
    import shared.training.local_round  # noqa: F401
    from shared.runtime.libraries import code_digest

    code_digest()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one round's request."""

    def answer(site: Site) -> RecordDict:
        from client.round.answer import answer_train

        return train_answer(answer_train(site, message.content))

    return Message(_attempt(answer, message, context), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answer a request to measure models on the validation patients."""

    def answer(site: Site) -> RecordDict:
        from client.round.answer import answer_evaluate

        return evaluate_answer(answer_evaluate(site, message.content))

    return Message(_attempt(answer, message, context), reply_to=message)


def _attempt(
    answer: Callable[[Site], RecordDict], message: Message, context: Context
) -> RecordDict:
    """Answer, and turn any failure into a refusal; nothing raised here reaches Flower.

    What Flower catches of a hospital's program it sends to the coordinator with its text.
    """
    folder = Path(UNKNOWN_SITE)
    site: Site | None = None
    try:
        from client.round.open_site import open_site

        folder = site_folder(dict(context.node_config), dict(context.run_config))
        site = open_site(folder)
        return answer(site)
    except Exception as error:  # one hospital's trouble must not break the others' round
        return _refuse(error, folder, site, message)
    finally:
        with suppress(Exception):
            if site is not None:
                site.close()


def _refuse(error: Exception, folder: Path, site: Site | None, message: Message) -> RecordDict:
    """Log a failure and say of it what may leave, whatever else fails on the way."""
    with suppress(Exception):
        log_failure(folder, error)
    try:
        from client.round.answer import read_job_or_none, read_ticket_or_none

        job = read_job_or_none(message.content)
        refusal = refusal_of(error, folder, site, job)
        with suppress(Exception):
            write_refusal(folder, refusal, job, read_ticket_or_none(message.content))
    except Exception as another:
        with suppress(Exception):
            log_failure(folder, another)
        refusal = least_refusal(error)
    return refusal_answer(refusal)


def site_folder(node_config: dict[str, Any], run_config: dict[str, Any]) -> Path:
    """Find the folder of the site that this node is.

    Parameters
    ----------
    node_config : dict
        The node's own configuration: ``site``, or in a simulation ``partition-id``.
    run_config : dict
        The run's configuration; in a simulation ``federation`` names a JSON file with
        the list ``sites``.

    Returns
    -------
    Path
        The site folder.

    Raises
    ------
    ConfigError
        If neither says which site this is.
    """
    if site := node_config.get("site"):
        return Path(str(site))
    federation = run_config.get("federation")
    if not federation or "partition-id" not in node_config:
        raise ConfigError(
            "the node does not know its site; start it with --node-config 'site=\"FOLDER\"'"
        )
    sites = json.loads(Path(str(federation)).read_text(encoding="utf-8"))["sites"]
    return Path(sites[int(node_config["partition-id"])])
