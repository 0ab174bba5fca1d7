"""How many models were measured here: their scores are sums over patients, outside all noise.

What was measured is counted in the ledger's own file, by run and, with the time, by task:
`client.privacy.policy` says how many are too many.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from client.privacy.ledger_db import EVALUATIONS, MEASURED, writing


class MeasuredModels:
    """The counters of one site's ledger file."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def count_round(self, task: str) -> int:
        """Count the model of a round that is about to be measured.

        Returns
        -------
        int
            Models measured for the task in 30 days, this one too, over all runs and
            whether asked for by a round or by themselves.
        """
        with writing(self._engine) as connection:
            _count(connection, task)
        return self.recent(task)

    def count_evaluation(self, run: str, task: str) -> int:
        """Count one more model that is about to be measured; return how many were before."""
        mine = (EVALUATIONS.c.run == run, EVALUATIONS.c.task == task)
        with writing(self._engine) as connection:
            _count(connection, task)
            before = connection.scalar(sa.select(EVALUATIONS.c.models).where(*mine))
            if before is None:
                connection.execute(EVALUATIONS.insert().values(run=run, task=task, models=1))
                return 0
            connection.execute(EVALUATIONS.update().where(*mine).values(models=before + 1))
            return int(before)

    def recent(self, task: str, days: float = 30.0) -> int:
        """Count the models measured for a task in the last days, over all runs."""
        since = time.time() - days * 86_400.0
        wanted = (MEASURED.c.task == task, MEASURED.c.at >= since)
        with self._engine.connect() as connection:
            found = connection.scalar(sa.select(sa.func.count()).where(*wanted))
            return int(found or 0)


def _count(connection: sa.Connection, task: str) -> None:
    """Count one more model that is measured for a task, with the time."""
    MEASURED.create(connection, checkfirst=True)  # ledgers of an older version have no such table
    connection.execute(MEASURED.insert().values(task=task, at=time.time()))
