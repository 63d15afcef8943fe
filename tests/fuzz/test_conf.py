"""Anything at all as a conf or an override: sections that hold what they may, or one sentence."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.config import read_conf
from recspark.errors import ConfigError
from recspark.models.registry import KINDS
from recspark.pipeline.conf.model_section import ModelSection
from recspark.pipeline.conf.sections import SECTIONS, validated

KEYS = sorted(
    f"{section.name}.{key}"
    for section in SECTIONS
    for key in getattr(section, "options", ("type", "name", "rank", "regParam", "seed"))
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, "\0", "\udcff", "../x"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def holds_text(value):
    if isinstance(value, (list, dict)):
        return all(map(holds_text, value)) and (
            isinstance(value, list) or all(map(holds_text, value.values()))
        )
    return not isinstance(value, str) or ("\0" not in value and value.encode("utf-8") is not None)


def check(conf):
    try:
        sections = validated(conf)
    except ConfigError as error:
        assert 10 < len(str(error)) < 5000 and "\0" not in str(error)
        return
    for section in vars(sections).values():
        for key, value in section.as_dict().items():
            assert not isinstance(value, float) or math.isfinite(value), key
            assert holds_text(value), key


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=3))
def test_any_value_of_any_key(pairs):
    conf = {}
    for name, value in pairs:
        section, _, key = name.partition(".")
        conf.setdefault(section, {})[key] = value
    check(conf)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([section.name for section in SECTIONS]) | st.text(),
        st.dictionaries(st.text(), VALUES, max_size=2),
        max_size=3,
    )
)
def test_any_keys(conf):
    check(conf)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text() | st.builds("{}={}".format, st.sampled_from(KEYS), st.text() | VALUES.map(repr)), max_size=3
    )
)
def test_any_overrides(overrides):
    try:
        conf = read_conf(None, overrides)
    except ConfigError as error:
        assert "--set" in str(error)
    else:
        check(conf)


@settings(max_examples=150, deadline=None)
@given(st.text() | st.binary())
def test_any_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    try:
        conf = read_conf(str(path))
    except ConfigError as error:
        assert str(error)
    else:
        check(conf)


@pytest.mark.parametrize("path", ["a\0b", "/", "/does/not/exist", "x" * 5000, "\udcff"])
def test_paths_of_conf_files(path):
    with pytest.raises(ConfigError, match="conf file"):
        read_conf(path)


@pytest.mark.parametrize(
    "text", ["2020-01-01", "12:30:00", "1\nrank = 7", "[" * 10_000, "9" * 10_000, "5 # five\n[x]"]
)
def test_what_is_no_value_of_an_option_is_text(text):
    assert read_conf(None, [f"data.source={text}"]) == {"data": {"source": text}}


def test_a_conf_file_may_begin_with_a_mark_and_end_lines_as_windows_does(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[model]\r\nrank = 7\r\n")
    assert read_conf(str(tmp_path / "a.toml")) == {"model": {"rank": 7}}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_no_machine_takes_are_refused_by_every_model(kind):
    for name in ModelSection(type=kind).estimator.hyperparameters():
        for value in (2**1024, float("nan"), float("inf")):
            with pytest.raises(ConfigError):
                ModelSection(type=kind, **{name: value})
