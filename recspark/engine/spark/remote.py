"""Sessions of Spark Connect: a server elsewhere has the JVM, and this process only a client of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pyspark.sql import SparkSession

from recspark.config import brief
from recspark.errors import ConfigError, RecsparkError

#: the seconds that a server has to take a connection
PATIENCE = 10
#: settings that a session may have of its own; all others are the server's
_OWN = "spark.sql."


def server_url(conf: Mapping[str, str]) -> str | None:
    """The URL of the Connect server that the environment or `conf` asks for, None for a JVM of our own.

    ``SPARK_REMOTE`` comes first, as in PySpark. A JVM of our own may still be a server to this process:
    ``SPARK_API_MODE=connect`` asks for that.

    Raises
    ------
    ConfigError
        If ``SPARK_REMOTE`` is not the URL of a server.
    """
    remote = os.environ.get("SPARK_REMOTE", "")
    if remote and not remote.startswith("sc://"):
        raise ConfigError(
            f"SPARK_REMOTE = {remote!r} is not allowed: it must be sc://HOST:PORT; for a server inside this "
            "process unset it, and set SPARK_API_MODE=connect"
        )
    asked = (remote, conf.get("spark.master", ""), os.environ.get("MASTER", ""))
    return next((url for url in asked if url.startswith("sc://")), None)


def remote_session(url: str, app_name: str, conf: Mapping[str, str]) -> SparkSession:
    """A new session on the server at `url`, with those settings of `conf` that a session may have.

    Raises
    ------
    RecsparkError
        If the client's packages are missing, or the server can't be reached.
    """
    try:
        from pyspark.sql.connect.client.core import DefaultChannelBuilder
        from pyspark.sql.connect.session import SparkSession as Remote
    except ImportError as error:
        raise RecsparkError(
            f"Spark Connect needs packages that are missing ({brief(error)}): type "
            "`pip install 'recspark[connect]'`"
        ) from None
    _require_server(DefaultChannelBuilder(url).endpoint)
    # PySpark's mark that its functions make columns for a server
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    own = {key: value for key, value in conf.items() if key.startswith(_OWN)}
    return Remote.builder.remote(url).appName(app_name).config(map=own).create()


def _require_server(endpoint: str) -> None:
    """Raise RecsparkError if nobody listens at ``host:port``: the client itself tries for ten minutes."""
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise RecsparkError(
            f"no Spark Connect server answers at sc://{endpoint} ({error.strerror or error}): start one, see "
            "docs/operations.md"
        ) from None
