"""The Params of a saved model: Spark ML's own file ``metadata/part-00000``, on any storage that recspark knows.

Spark ML writes and reads that file by a job, so on storage that Spark has a client of; models lie where pyarrow can put them.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsWriter
from pyspark.sql import SparkSession

from recspark.data.folder import Folder
from recspark.errors import RecsparkError


def write_metadata(model: Params, path: str, spark: SparkSession) -> None:
    """Write class, uid and Params of `model` as ``DefaultParamsWriter.saveMetadata`` does."""
    folder = Folder(path)
    folder.write_bytes("metadata/part-00000", f"{DefaultParamsWriter._get_metadata_to_save(model, spark)}\n".encode())
    folder.write_bytes("metadata/_SUCCESS", b"")


def read_metadata(path: str) -> dict[str, Any]:
    """What `write_metadata` or Spark has written for the model in `path`; RecsparkError where there is none."""
    folder = Folder(path)
    for name in folder.names("metadata"):
        if name.startswith("part-"):
            with folder.fs.open_input_stream(folder.at(f"metadata/{name}")) as stream:
                text = stream.read()
            if text:
                return json.loads(text)
    raise RecsparkError(f"{path} holds no model: there is no metadata")


def saved_class(path: str) -> type[Any]:
    """The class of the model in `path`."""
    module, _, name = read_metadata(path)["class"].rpartition(".")
    return getattr(import_module(module), name)
