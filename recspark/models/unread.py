"""Params that a fit does not read in some setting: estimators declare them, and users are warned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from recspark.models.params import Configurable

log = logging.getLogger("recspark.fit")


@dataclass(frozen=True)
class Unread:
    """The Params named in `params` are not read if `holds` is true of the estimator and its form of data.

    Forms are ``ratings``, and of factorization machines ``vectors``, ``entities`` and ``rows``. `setting`
    names the setting in words; values of Params may stand in braces in it.
    """

    params: str
    holds: Callable[[Configurable, str], bool]
    setting: str


def unread(estimator: Configurable, form: str) -> dict[str, str]:
    """The Params that a fit of the estimator on this form of data does not read.

    They may be set or not. Each comes with the setting in words.
    """
    rules = [rule for kind in reversed(type(estimator).__mro__) for rule in vars(kind).get("unread", ())]
    held = [rule for rule in rules if rule.holds(estimator, form)]
    values = estimator.values() if held else {}
    return {
        name: rule.setting.format(**values)
        for rule in held
        for name in rule.params.split()
        if estimator.hasParam(name)
    }


def warn_of_unread(estimator: Configurable, form: str) -> None:
    """Log one warning that names all Params that the user has set and the fit does not read."""
    names: dict[str, list[str]] = {}
    for name, setting in unread(estimator, form).items():
        if estimator.isSet(name):
            names.setdefault(setting, []).append(name)
    if names:
        parts = "; ".join(f"{', '.join(found)} ({setting})" for setting, found in names.items())
        log.warning("%s: these Params are set and have no effect here: %s", type(estimator).__name__, parts)
