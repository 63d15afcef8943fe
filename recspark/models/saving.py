"""Models as folders: Spark ML's own file ``metadata/part-00000`` with the Params, and beside it what each kind of model consists of.

Spark ML writes and reads that file by a job, so on storage that Spark has a client of; models lie where pyarrow can put them.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import SparkSession

from recspark.data.folder import Folder
from recspark.errors import RecsparkError


class Saved(MLWritable, MLReadable):
    """What `write` and `read` ask of a model: to write all but its Params, and to be made of that."""

    def write_parts(self, path: str) -> None:
        """Write all but the Params into the folder or URI `path`."""
        raise NotImplementedError

    @classmethod
    def read_parts(cls, path: str) -> Any:
        """A model of what `write_parts` wrote."""
        raise NotImplementedError

    def write(self) -> MLWriter:
        """A writer of the whole model."""
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader:
        """A reader of what `write` wrote."""
        return _Reader(cls)


class _Writer(MLWriter):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def saveImpl(self, path: str) -> None:
        write_metadata(self.model, path, self.sparkSession)
        self.model.write_parts(path)


class _Reader(MLReader):
    def __init__(self, cls: type[Saved]) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Any:
        metadata = read_metadata(path)
        model = self.cls.read_parts(path)
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model


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
