"""The hospital's Flower ClientApp: finds its site folder, answers, never breaks the exchange.

On a real node the folder stands in the node's own configuration (``site="path"``),
which the coordinator cannot set. In a simulation the run's file lists the folders,
and the node's partition says which is its own.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from shared.errors import ConfigError, OsteofedError
from shared.protocol import evaluate_answer, refusal_answer, train_answer

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from client.training import Site

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one round's request."""

    def answer(site: Site) -> RecordDict:
        from client.training import answer_train

        return train_answer(answer_train(site, message.content))

    return Message(_attempt(answer, message, context), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answer a request to measure models on the validation patients."""

    def answer(site: Site) -> RecordDict:
        from client.training import answer_evaluate

        return evaluate_answer(answer_evaluate(site, message.content))

    return Message(_attempt(answer, message, context), reply_to=message)


def _attempt(
    answer: Callable[[Site], RecordDict], message: Message, context: Context
) -> RecordDict:
    """Answer, and turn any failure into a refusal with a reason."""
    from client.training import open_site, read_job_or_none, refusal_of

    folder = Path("unknown-site")
    site: Site | None = None
    try:
        folder = site_folder(dict(context.node_config), dict(context.run_config))
        site = open_site(folder)
        return answer(site)
    except Exception as error:  # one hospital's trouble must not break the others' round
        if not isinstance(error, OsteofedError):
            _log_failure(folder, error)
        job = read_job_or_none(message.content)
        return refusal_answer(refusal_of(error, folder, site, job))
    finally:
        if site is not None:
            site.close()


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


def _log_failure(folder: Path, error: Exception) -> None:
    """Leave the details of an unforeseen failure inside the hospital."""
    text = "".join(traceback.format_exception(error))
    logging.getLogger("osteofed.site").error(text)
    if folder.is_dir():
        with (folder / "failures.log").open("a", encoding="utf-8") as log:
            log.write(text + "\n")
