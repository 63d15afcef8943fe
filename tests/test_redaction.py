"""Secrets in text, in values, in log lines and in errors."""

import io
import logging
import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.errors import ConfigError, RecsparkError
from recspark.redaction import RedactingFormatter, redact, redacted, without_user


@pytest.mark.parametrize(
    "text, expected",
    [
        ("s3a://key:pass@bucket/path", "s3a://***@bucket/path"),
        ("https://token@host/repo", "https://***@host/repo"),
        (
            "abfss://container@account.dfs.core.windows.net/x",
            "abfss://container@account.dfs.core.windows.net/x",
        ),
        ("https://h/x?sv=1&sig=abc%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("--set store.password=x --set als.rank=8", "--set store.password=*** --set als.rank=8"),
        ("--api-key abc --rank 8", "--api-key *** --rank 8"),
        ("--store-token=abc {'password': 'x y'}", "--store-token=*** {'password': ***}"),
        ('spark.hadoop.fs.s3a.secret.key = "a b" # why', "spark.hadoop.fs.s3a.secret.key = *** # why"),
        ("https://user:p@ss@host/x and https://host/@mail", "https://***@host/x and https://host/@mail"),
        ('{"uri": "s3://key:pass@bucket"} a@b', '{"uri": "s3://***@bucket"} a@b'),
        (
            "https://h/x?X-Amz-Signature=abc&X-Amz-Date=1&pwd=abc",
            "https://h/x?X-Amz-Signature=***&X-Amz-Date=1&pwd=***",
        ),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("userCol=user_id sigma=3 hdfs://host:8020/x", "userCol=user_id sigma=3 hdfs://host:8020/x"),
    ],
)
def test_redact(text, expected):
    assert redact(text) == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.text(st.characters(categories=["L", "N"]), min_size=12),
    st.sampled_from(["postgresql", "https", "s3a"]),
)
def test_a_password_in_a_uri_never_survives(password, scheme):
    assert password not in redact(f"failed to open {scheme}://someone:{password}@host:5432/mlflow (timeout)")


@pytest.mark.parametrize("word", ["x", "a.", "token", "--sig-", "a://", "--token ", "key = ", "'"])
def test_redact_takes_no_longer_than_the_text_is_long(word):
    began = time.monotonic()
    redact(word * 20_000)
    assert time.monotonic() - began < 2


def test_values_are_redacted_by_what_they_are_and_by_their_names():
    given = {
        "source": "s3://k:pass@b/x",
        "rank": 8,
        "aws": {"secretKey": "pass"},
        "titles": ["The Secret: a film", None],
        "tokens": 5,
    }
    assert redacted(given) == given | {"source": "s3://***@b/x", "aws": {"secretKey": "***"}}


def test_an_error_never_holds_a_password():
    error = ConfigError("data.source = 'https://user:pass@host/x.zip?token=pass' is not allowed")
    assert str(error) == "data.source = 'https://***@host/x.zip?token=***' is not allowed"
    assert isinstance(error, RecsparkError) and error.exit_code == 2
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_log_line_is_redacted_with_its_traceback():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    log = logging.Logger("test")
    log.addHandler(handler)
    try:
        raise OSError("can't open s3://key:pass@bucket/x")
    except OSError:
        log.exception("reading %s failed", "s3://key:pass@bucket/x")
    assert "pass" not in out.getvalue()
    assert out.getvalue().count("s3://***@bucket/x") == 3  # the message, the line of source, the error


@pytest.mark.parametrize("uri", ["/a/b", "s3://bucket/x", "abfss://container@account/x"])
def test_a_uri_without_a_secret_stays(uri):
    assert without_user(uri) == redact(uri) == uri
