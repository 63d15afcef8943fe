"""Features the slow way: one row after the other, in plain Python, by the definitions of docs/leakage.md."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

EXPONENT = {"sqrt": 0.5, "linear": 1.0, "none": 0.0}
DAY = 86_400


def named_row(
    row: Any, train: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame
) -> dict[str, dict[Any, float]]:
    """``{group: {level: value}}`` of one rating row, every group ignoring the unknown."""
    user, item = (
        attributes(table, f"{side}_id", row[f"{side}_id"])
        for table, side in ((users, "user"), (items, "item"))
    )
    known_users, known_items = (set(train[f"{side}_id"]) for side in ("user", "item"))
    trained_users, trained_items = (
        users[users.user_id.isin(known_users)],
        items[items.item_id.isin(known_items)],
    )
    first = int(train.timestamp.min()) // DAY
    past = train[(train.user_id == row.user_id) & (train.timestamp < row.timestamp)].sort_values(
        ["timestamp", "item_id"]
    )
    seen = known_rows(row, train, first)
    one = {
        "user": (row.user_id, known_users),
        "item": (row.item_id, known_items),
        "gender": (user.get("gender"), set(trained_users.gender)),
        "age_decade": (decade(user.get("age")), {decade(age) for age in trained_users.age}),
        "zip2": (prefix(user.get("zip")), {prefix(text) for text in trained_users.zip}),
        "gender*age": (pair(user), {pair(entry) for entry in trained_users.to_dict("records")}),
        "year": (item.get("year"), set(trained_items.year)),
        "last": (past.item_id.iloc[-1] if len(past) else None, known_items),
        "count": (bucket(len(past)), {bucket(count) for count in seen["count"]}),
        **{
            name: (moment(row.timestamp, first)[name], seen[name])
            for name in ("day", "week", "month", "hour", "weekday")
        },
    }
    sets = {
        "rated": (train[train.user_id == row.user_id].item_id, known_items, "sqrt"),
        "raters": (train[train.item_id == row.item_id].user_id, known_users, "linear"),
        "rated_past": (past.item_id, known_items, "linear"),
        "genres": (
            item.get("genres") or (),
            {genre for genres in trained_items.genres for genre in genres or ()},
            "sqrt",
        ),
    }
    features = {
        name: {level: 1.0} if level is not None and level in known else {}
        for name, (level, known) in one.items()
    }
    features |= {
        name: scaled(set(members) & known, EXPONENT[scale]) for name, (members, known, scale) in sets.items()
    }
    ages = trained_users.age.dropna().astype(float)
    age = user.get("age")
    return features | {
        "age_value": {"age_value": (age - ages.mean()) / (ages.std(ddof=0) or 1)} if age is not None else {}
    }


def attributes(table: pd.DataFrame, key: str, id: Any) -> dict[str, Any]:
    found = table[table[key] == id].to_dict("records")
    return (
        {name: value for name, value in found[0].items() if value is not None and value is not pd.NA}
        if found
        else {}
    )


def known_rows(row: Any, train: pd.DataFrame, first: int) -> dict[str, set[int]]:
    """The levels of the training rows in the groups of time and count."""
    seen = {
        name: {moment(time, first)[name] for time in train.timestamp}
        for name in ("day", "week", "month", "hour", "weekday")
    }
    counts = {
        ((train.user_id == other.user_id) & (train.timestamp < other.timestamp)).sum()
        for other in train.itertuples()
    }
    return seen | {"count": counts}


def moment(timestamp: int, first: int) -> dict[str, int]:
    time, day = pd.Timestamp(timestamp, unit="s"), timestamp // DAY - first
    start = pd.Timestamp(first * DAY, unit="s")
    month = 12 * (time.year - start.year) + time.month - start.month
    return {"day": day, "week": day // 7, "month": month, "hour": time.hour, "weekday": time.weekday()}


def bucket(count: int) -> int:
    return 2 ** int(np.floor(np.log2(count))) if count else 0


def decade(age: Any) -> int | None:
    return None if age is None or age is pd.NA else int(age) // 10 * 10


def prefix(text: str | None) -> str | None:
    return None if text is None else text[:2]


def pair(user: dict[str, Any]) -> str | None:
    gender, age = user.get("gender"), user.get("age")
    if gender is None or age is None or age is pd.NA:
        return None
    return gender.replace("\\", "\\\\").replace("*", "\\*") + f"*{age}"


def scaled(members: Iterable[Any], exponent: float) -> dict[Any, float]:
    members = set(members)
    return {member: len(members) ** -exponent for member in members}
