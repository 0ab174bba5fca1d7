"""Where a ledger's rule stands in its file: written with the first reservation, then kept."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from client.privacy.ledger_db import MECHANISMS, PRICES, PROPERTIES
from client.privacy.privacy_filter import FilterKind, Prices, PrivacyFilter
from shared.errors import ConfigValueError
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism


def filter_of(
    connection: sa.Connection, budget: SitePrivacy, asked: Iterable[Mechanism] = ()
) -> PrivacyFilter:
    """Read a ledger's rule, with the price of every line and of what is asked.

    Where none was kept yet (nothing was reserved, or by an older version) it is the one that
    would be kept now.

    Raises
    ------
    ConfigValueError
        If `site.yaml` names another kind than the ledger was begun with.
    """
    rule = _kept(connection)
    history = _mechanisms(connection)
    if rule is None:
        rule = PrivacyFilter.chosen(budget, history)
    elif budget.filter not in (None, rule.kind.value):
        raise ConfigValueError(
            f"site.yaml: privacy.filter: {budget.filter} (must be {rule.kind.value}, with which "
            "this ledger was begun: a kind that could be changed later would be no bound)"
        )
    rule = rule.knowing(_prices(connection))
    wanted = {one for one in (*history, *asked) if one.noise_multiplier > 0}
    return rule.knowing({(m.sample_rate, m.noise_multiplier): rule.price(m) for m in wanted})


def keep_filter(connection: sa.Connection, rule: PrivacyFilter) -> bool:
    """Write a ledger's rule and its prices, in the transaction that reserves.

    Returns
    -------
    bool
        False if another process has kept another rule since it was read.
    """
    kept = _kept(connection)
    if kept is None:
        rows = [
            {"key": "filter", "value": rule.kind.value},
            {"key": "order", "value": str(rule.order)},
        ]
        connection.execute(PROPERTIES.insert(), rows)
    elif kept != rule:
        return False
    if rule.kind is FilterKind.RENYI:
        PRICES.create(connection, checkfirst=True)  # ledgers of an older version have none
        known = set(_prices(connection))
        new = [
            {"sample_rate": rate, "noise_multiplier": noise, "price": price}
            for (rate, noise), price in rule.known.items()
            if (rate, noise) not in known
        ]
        if new:
            connection.execute(PRICES.insert(), new)
    return True


def _kept(connection: sa.Connection) -> PrivacyFilter | None:
    query = sa.select(PROPERTIES.c.key, PROPERTIES.c.value)
    found = {str(key): str(value) for key, value in connection.execute(query).all()}
    if "filter" not in found:
        return None
    return PrivacyFilter(FilterKind(found["filter"]), int(found["order"]))


def _mechanisms(connection: sa.Connection) -> list[Mechanism]:
    """List what private lines hold, each once."""
    columns = (MECHANISMS.c.sample_rate, MECHANISMS.c.noise_multiplier)
    query = sa.select(*columns).where(MECHANISMS.c.mode == "private").distinct()
    return [Mechanism(rate, noise, 1) for rate, noise in connection.execute(query).all()]


def _prices(connection: sa.Connection) -> Prices:
    if not sa.inspect(connection).has_table(PRICES.name):
        return {}
    query = sa.select(PRICES.c.sample_rate, PRICES.c.noise_multiplier, PRICES.c.price)
    return {(rate, noise): price for rate, noise, price in connection.execute(query).all()}
