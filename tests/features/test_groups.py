"""What a conf may declare, and what each mistake is answered with."""

import pytest

from recspark.config import build_sections
from recspark.errors import ConfigError
from recspark.features.groups import NAMED, parse_groups
from recspark.features.options import FeatureOptions


def test_every_named_group_parses_to_itself():
    assert parse_groups(NAMED) == list(NAMED.values())


def test_a_set_of_the_past_belongs_to_the_row():
    train, past = parse_groups(
        ["rated", {"group": "rated", "scope": "past", "scale": "linear", "unknown": "own"}]
    )
    assert (train.name, train.side, train.scope, train.scale) == ("rated", "user", "train", "sqrt")
    assert (past.name, past.side, past.scope, past.scale) == ("rated_past", "context", "past", "linear")
    assert past.unknown == "own" and past.needs == ("timestamp",)


def test_sides_of_columns_and_crosses():
    groups = parse_groups(
        ["users.city", "items.price", "ratings.device", "gender*age", "weekday*hour", "user*day", "user*item"]
    )
    assert [group.side for group in groups] == [
        "user",
        "item",
        "context",
        "user",
        "context",
        "context",
        "context",
    ]
    assert groups[3].needs == ("gender", "age")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("gendr", "unknown key features.groups.gendr: did you mean features.groups.gender?"),
        (
            {"group": "rated", "scope": "all"},
            "scope 'all' of group 'rated' does not exist: a set over all rows tells the model",
        ),
        (
            {"group": "rated", "scope": "future"},
            "features.groups.scope = 'future' is not allowed: it must be a string, one of train, past",
        ),
        (
            {"group": "rated", "scales": "sqrt"},
            "unknown key features.groups.scales: did you mean features.groups.scale?",
        ),
        (
            {"group": "rated", "scale": "log"},
            "scale = 'log' is not allowed: it must be a string, one of sqrt, linear, none",
        ),
        ({"group": "age", "scope": "past"}, "scope = 'past' is not allowed for group 'age'"),
        ({"group": "age", "scale": "sqrt"}, "scale = 'sqrt' is not allowed for group 'age'"),
        ({"group": "age_value", "unknown": "own"}, "unknown = 'own' is not allowed for group 'age_value'"),
        ({"group": "age", "kind": "real"}, "kind = 'real' is not allowed for group 'age'"),
        (
            {"group": "rated", "factors": False},
            "factors = False is not allowed for group 'rated': leave it out",
        ),
        (
            {"group": "last", "scope": "train"},
            "scope = 'train' of group 'last' is not allowed: it must be past",
        ),
        ({"group": "age", "bins": [18, 30]}, "bins = [18, 30] is not allowed for group 'age': leave it out"),
        (
            {"group": "users.age", "bins": [30, 18]},
            "bins = [30, 18] is not allowed: it must be a list, not empty, of ascending numbers",
        ),
        (
            {"group": "users.age", "bins": [18], "kind": "real"},
            "kind = 'real' is not allowed for group 'users.age': leave it out",
        ),
        ({"scope": "past"}, "it must be a name, or a table with a key group"),
        (3, "3 is not allowed: it must be a name, or a table"),
        ("ratings.rating", "the rating is what is predicted"),
        ("tables.city", "a column is one of users.COLUMN, items.COLUMN, ratings.COLUMN"),
        ("gender*rated", "'rated' has no levels, its kind is set"),
        ("gender*genres", "'genres' has no levels"),
        ("gender*year", "the groups of a cross are of one side, or of the context, user and item"),
        ("gender*age*zip1", "a cross has two groups"),
    ],
)
def test_mistakes_are_named(entry, words):
    with pytest.raises(ConfigError) as error:
        parse_groups([entry])
    assert words in str(error.value)


def test_a_group_stands_once():
    with pytest.raises(ConfigError, match="names 'age' 2 times"):
        parse_groups(["age", "user", {"group": "age", "unknown": "own"}])


def test_the_section_checks_its_groups():
    conf = {"features": {"groups": ["user", {"group": "rated", "scope": "past"}]}}
    options = build_sections(conf, [FeatureOptions])["features"]
    assert [group.name for group in options.declared] == ["user", "rated_past"]
    assert build_sections({}, [FeatureOptions])["features"].declared == []
    with pytest.raises(ConfigError, match="unknown key features.groups.usr"):
        build_sections({"features": {"groups": ["usr"]}}, [FeatureOptions])
