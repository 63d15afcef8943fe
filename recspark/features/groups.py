"""Feature groups: the meaning of a block of columns, the source of its levels, its declaration in a conf.

A group is SQL over the table of its side: users, items, or the rating rows (*context*). Names that start with
an underscore are columns that :mod:`recspark.features.frames` adds to the rating rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite

from recspark.config import Check, Option, Section, one_of, unknown_key
from recspark.errors import ConfigError

#: the id of each side that is an entity; a rating row has both
IDS = {"user": "user_id", "item": "item_id"}
#: the side that each table describes
TABLES = {"users": "user", "items": "item", "ratings": "context"}
#: values of a set of n members are n^-exponent
SCALES = {"sqrt": 0.5, "linear": 1.0, "none": 0.0}

_DAY = "floor(timestamp / 86400)"
_N = "_n_user"
# the lower end of the bucket: 0, 1, 2, 4, 8 ...
_BUCKET = f"if({_N} = 0, 0, shiftleft(1L, length(bin({_N})) - 1))"


@dataclass(frozen=True)
class Group:
    """A named set of feature columns on one side.

    Attributes
    ----------
    name : str
        Unique in a feature set: as declared, with ``_past`` if a set knows only the past.
    side : str
        ``user`` or ``item``: depends on that id alone; ``context``: depends on the rating row.
    expression : str
        SQL of the level, the set or the number; of a history group the column of its members.
    kind : str or None
        ``level``: one of many; ``set``: an array of levels; ``weights``: a map from levels to numbers;
        ``real``: a number. None until a fit has seen the type of the column.
    needs : tuple of str
        Columns that the side's table must have.
    numbers : tuple of str
        Those of them that must hold numbers.
    vocabulary : str or None
        ``users`` or ``items`` if the levels are ids that training knows; else the levels are the group's
        own.
    key : str or None
        Of history groups: the id column whose earlier rows, or training rows, count.
    scope : str or None
        Of history groups: ``train`` all training rows of the key, ``past`` those with a smaller timestamp.
    scale : str or None
        Of sets: a member of n has the value ``n^-1/2`` (sqrt), ``1 / n`` (linear) or 1 (none).
    unknown : str
        For a level that training has not seen, a missing value and an empty set: ``ignore`` no feature,
        ``own`` a bucket of its own.
    factors : bool
        Whether a level of the context has factors beside its weight; without them it does not interact.
    """

    name: str
    side: str
    expression: str
    kind: str | None = "level"
    needs: tuple[str, ...] = ()
    vocabulary: str | None = None
    key: str | None = None
    scope: str | None = None
    scale: str | None = None
    unknown: str = "ignore"
    factors: bool = True
    numbers: tuple[str, ...] = ()

    @property
    def is_history_set(self) -> bool:
        """Whether the members come from the training rows instead of a column."""
        return self.key is not None and self.kind == "set"

    @property
    def exponent(self) -> float:
        """Each value of a set of n members is ``n^-exponent``; 0 for a group without a scale."""
        return SCALES[self.scale or "none"]

    @property
    def is_column(self) -> bool:
        """Whether it is a column given by name, whose kind follows from its type."""
        return self.expression.startswith("`")


def _months(day: str) -> str:
    date = f"date_from_unix_date(int({day}))"
    return f"(12 * year({date}) + month({date}))"


#: all groups with a name; time is UTC, a day starts at midnight, weekday 0 is Monday
NAMED = {
    group.name: group
    for group in (
        Group("user", "user", "user_id", vocabulary="users"),
        Group(
            "rated", "user", "item_id", "set", vocabulary="items", key="user_id", scope="train", scale="sqrt"
        ),
        Group("gender", "user", "gender", needs=("gender",)),
        Group("age", "user", "age", needs=("age",)),
        Group("age_decade", "user", "10 * floor(age / 10)", needs=("age",), numbers=("age",)),
        Group("age_value", "user", "age", "real", needs=("age",), numbers=("age",)),
        Group("occupation", "user", "occupation", needs=("occupation",)),
        Group("zip1", "user", "substr(zip, 1, 1)", needs=("zip",)),
        Group("zip2", "user", "substr(zip, 1, 2)", needs=("zip",)),
        Group("item", "item", "item_id", vocabulary="items"),
        Group(
            "raters", "item", "user_id", "set", vocabulary="users", key="item_id", scope="train", scale="sqrt"
        ),
        Group("genres", "item", "genres", "set", needs=("genres",), scale="sqrt"),
        Group("year", "item", "year", needs=("year",)),
        Group("tags", "item", "tags", "set", needs=("tags",), scale="sqrt"),
        Group("day", "context", f"{_DAY} - _first_day", needs=("timestamp",)),
        Group("week", "context", f"floor(({_DAY} - _first_day) / 7)", needs=("timestamp",)),
        Group("month", "context", f"{_months(_DAY)} - {_months('_first_day')}", needs=("timestamp",)),
        Group("moment", "context", "floor(timestamp / 10)", needs=("timestamp",)),
        Group("hour", "context", "floor(pmod(timestamp, 86400) / 3600)", needs=("timestamp",)),
        Group("weekday", "context", f"pmod({_DAY} + 3, 7)", needs=("timestamp",)),
        Group("last", "context", "_last_item", "level", ("timestamp",), "items", "user_id", "past"),
        Group("count", "context", _BUCKET, "level", ("timestamp",), None, "user_id", "past"),
        Group("count_value", "context", _N, "real", ("timestamp",), None, "user_id", "past"),
    )
}


_ASCENDING = Check(
    lambda edges: (
        bool(edges)
        and all(type(edge) in (int, float) and isfinite(edge) for edge in edges)
        and edges == sorted({*edges})
    ),
    "not empty, of ascending numbers, such as [18, 30, 45, 65]",
)


class GroupEntry(Section):
    """The options of one entry of ``features.groups``; the group's own defaults hold otherwise."""

    name = "features.groups"
    group = Option(
        str,
        None,
        "name of the group, users.COLUMN, items.COLUMN, ratings.COLUMN, or a cross such as gender*age",
    )
    scope = Option(str, None, "history groups: which training rows count", one_of("train", "past"))
    scale = Option(str, None, "sets: value of a member of n", one_of(*SCALES))
    unknown = Option(str, None, "levels that training has not seen", one_of("ignore", "own"))
    kind = Option(
        str, None, "columns by name: kind of a value; not set: by its type", one_of("level", "real")
    )
    bins = Option(
        list,
        None,
        "columns by name that hold numbers: the edges of bins, each of which is a level",
        _ASCENDING,
    )
    factors = Option(
        bool,
        None,
        "groups of the context: whether a level has factors beside its weight; for solvers mcmc and als",
    )


def parse_groups(entries: Iterable[str | Mapping[str, object]]) -> list[Group]:
    """The groups that a conf declares, in its order.

    Parameters
    ----------
    entries
        Names, or tables of the options of :class:`GroupEntry`:
        ``["user", {"group": "rated", "scope": "past", "scale": "linear"}, "users.city", "gender*age"]``.

    Raises
    ------
    ConfigError
        For an unknown group or option, an option that the group has no use for, a repeated group, scope
        ``all``, and the rating itself.
    """
    groups = [_parse(entry) for entry in entries]
    for name, times in Counter(group.name for group in groups).items():
        if times > 1:
            raise ConfigError(f"features.groups names {name!r} {times} times: each group may stand once")
    return groups


def _parse(entry: str | Mapping[str, object]) -> Group:
    values: Mapping[str, object] = {"group": entry} if isinstance(entry, str) else entry
    if not isinstance(values, dict) or "group" not in values:
        raise ConfigError(
            f"features.groups: {entry!r} is not allowed: it must be a name, or a table with a key group"
        )
    if values.get("scope") == "all":
        raise ConfigError(
            f"features.groups: scope 'all' of group {values['group']!r} does not exist: a set over all rows "
            "tells the model what is in the "
            "test rows; it must be train (training rows only) or past (strictly earlier training rows only)"
        )
    options = GroupEntry(**values)
    group = _find(options.group)
    return _configured(group if options.bins is None else _binned(group, options.bins), options)


def _find(name: str) -> Group:
    if "*" in name:
        return _cross(name)
    if "." in name:
        return _column(name)
    if name not in NAMED:
        known = (*NAMED, *(f"{table}.COLUMN" for table in TABLES), "GROUP*GROUP")
        raise unknown_key(f"features.groups.{name}", (f"features.groups.{group}" for group in known))
    return NAMED[name]


def _column(name: str) -> Group:
    table, _, column = name.partition(".")
    if table not in TABLES:
        allowed = ", ".join(f"{known}.COLUMN" for known in TABLES)
        raise ConfigError(f"features.groups: {name!r} is not allowed: a column is one of {allowed}")
    if name == "ratings.rating":
        raise ConfigError("features.groups: 'ratings.rating' is not allowed: the rating is what is predicted")
    return Group(name, TABLES[table], "`" + column.replace("`", "``") + "`", None, needs=(column,))


def _binned(group: Group, edges: list[float]) -> Group:
    """A group of a column with one level per bin: the number of `edges` at or below the number.

    A missing number has no level.
    """
    if not group.is_column:
        raise _useless(group, "bins", edges)
    number = f"nullif(double({group.expression}), double('NaN'))"
    reached = " + ".join(f"int({number} >= double('{edge!r}'))" for edge in edges)
    return replace(group, kind="level", expression=reached, numbers=group.needs)


def _cross(name: str) -> Group:
    parts = [_find(part) for part in name.split("*")]
    if len(parts) != 2:
        raise ConfigError(f"features.groups: {name!r} is not allowed: a cross has two groups")
    for part in parts:
        if part.kind not in ("level", None):
            raise ConfigError(
                f"features.groups: {name!r} is not allowed: {part.name!r} has no levels, its kind is "
                f"{part.kind}"
            )
    side, other = (part.side for part in parts)
    if side != other:
        side = "context"
        for part in parts:
            if part.side != side and part.expression not in IDS.values():
                raise ConfigError(
                    f"features.groups: {name!r} is not allowed: the groups of a cross are of one side, or of "
                    "the context, user and item"
                )
    # escaped, so that no two pairs give one text
    first, second = (rf"regexp_replace(string({part.expression}), r'([*\\])', r'\\$1')" for part in parts)
    needs = tuple(dict.fromkeys(column for part in parts for column in part.needs))
    past = next((part for part in parts if part.key), None)
    key, scope = (past.key, past.scope) if past else (None, None)
    return Group(name, side, f"concat({first}, '*', {second})", needs=needs, key=key, scope=scope)


def _configured(group: Group, options: GroupEntry) -> Group:
    """`group` with the options that its entry sets."""
    crossed = "*" in group.name
    uses = {
        "scope": group.key is not None and not crossed,
        "scale": group.kind in ("set", None),
        "unknown": group.kind != "real",
        "kind": group.is_column,
        "factors": group.side == "context",
    }
    given = {option: value for option in uses if (value := getattr(options, option)) is not None}
    for option, value in given.items():
        if not uses[option]:
            raise _useless(group, option, value)
    if given.get("scope", group.scope) == group.scope:
        return replace(group, **given)
    if not group.is_history_set:
        raise ConfigError(
            f"features.groups: scope = {given['scope']!r} of group {group.name!r} is not allowed: it must be "
            f"{group.scope}"
        )
    return replace(group, name=f"{group.name}_past", side="context", needs=("timestamp",), **given)


def _useless(group: Group, option: str, value: object) -> ConfigError:
    return ConfigError(
        f"features.groups: {option} = {value!r} is not allowed for group {group.name!r}: leave it out"
    )
