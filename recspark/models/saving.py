"""Models and estimators as folders.

Beside the parts of each kind there is Spark ML's own file ``metadata/part-00000`` with the Params. Spark ML
writes and reads that file by a job, so only on storage that Spark has a client of; here pyarrow does it, so
models can be on any storage of pyarrow.
"""

from __future__ import annotations

import json
import uuid
from typing import Required, Self, TypedDict

from pyspark.ml.param import Params
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import SparkSession

from recspark.engine.spark.leases import Lease
from recspark.errors import ConfigError, RecsparkError
from recspark.lake.folder import Folder, check_no_pattern
from recspark.models.files import ModelFiles
from recspark.models.folder import Facts, write_facts
from recspark.models.registry import HOMES, find

#: what Spark ML writes of an object, and more that is not read
Metadata = TypedDict(
    "Metadata",
    {
        "class": Required[str],
        "uid": Required[str],
        "paramMap": dict[str, object],
        "defaultParamMap": dict[str, object],
    },
    total=False,
)


class PathExists(RecsparkError, FileExistsError):
    """A folder to be written is not empty."""


class Saved(MLWritable, MLReadable):
    """The methods that `write` and `read` need of a model or an estimator.

    One writes all but the Params, another makes an object from that.
    """

    #: MLlib's class with the same content, whose folders `import_parts` reads
    mllib_class: str | None = None

    def write_parts(self, path: str) -> None:
        """Write all but the Params into the folder or URI `path`, which is new."""
        raise NotImplementedError

    def saved_to(self, path: str) -> None:
        """Learn that the whole object is now in `path`, in place of what was there."""

    @classmethod
    def read_parts(cls, path: str) -> Self:
        """Make an object from the output of `write_parts`."""
        raise NotImplementedError

    @classmethod
    def import_parts(cls, path: str) -> Self:
        """Make an object from a folder that MLlib wrote for `mllib_class`."""
        raise NotImplementedError

    def write(self) -> MLWriter:
        """A writer of the whole object; ``write().overwrite().save(path)`` replaces what is there."""
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader:
        """A reader of the output of `write`."""
        return _Reader(cls)


class FittedModel(Saved):
    """A model that answers from files in a folder: those of its fit, or those that it was loaded from.

    Temporary files of a fit go with the model and the DataFrames that it gave out, or with the Spark session:
    `save` the model to keep it.
    """

    _facts: Facts

    def __init__(self, folder: str | None = None, lease: Lease | None = None, **values: object) -> None:
        super().__init__(**values)
        self._files: ModelFiles | None = None
        if folder:
            self._files, self._facts = ModelFiles.read(folder, lease)

    @property
    def has_files(self) -> bool:
        """Whether a fit or `load` made the model; one that is made by its class alone is empty."""
        return self._files is not None

    @property
    def files(self) -> ModelFiles:
        """Its files. Raise RecsparkError where it has none."""
        if self._files is None:
            raise RecsparkError(f"this {type(self).__name__} is empty: make it by a fit, or by load")
        return self._files

    @property
    def can(self) -> tuple[str, ...]:
        """The abilities of the model, from `recspark.models.folder.ABILITIES`."""
        return self._facts.can

    @property
    def folder(self) -> str:
        """The folder or URI of its files."""
        return self.files.folder

    def write_parts(self, path: str) -> None:
        """Copy the files unchanged."""
        source, target = Folder(self.folder), Folder(path)
        with self.files.verified():
            for name in self._facts.content:
                source.copy_to(name, target)
        write_facts(path, self._facts)

    @classmethod
    def read_parts(cls, path: str) -> Self:
        """See `Saved.read_parts`."""
        return cls(folder=Folder(path).root)


class _Writer(MLWriter):
    def __init__(self, saved: Saved) -> None:
        super().__init__()
        self.saved = saved

    def save(self, path: str) -> None:
        """Write to `path`: all of it or nothing.

        Raise PathExists if something is there, unless `overwrite` was called.
        """
        if not isinstance(path, str):
            raise ConfigError(f"path = {path!r} is not allowed: it must be a string")
        check_no_pattern("path", path)
        target = Folder(path)
        if target.is_prepared:
            self.saveImpl(target.root)
            return
        parent, name = target.parent, target.name
        if parent.exists(name) and not self.shouldOverwrite:
            raise PathExists(f"{path} already exists: to replace it, use write().overwrite().save(path)")
        staged = f".{name}.{uuid.uuid4().hex[:12]}"
        try:
            self.saveImpl(parent.path(staged))
            parent.replace(staged, name)
            self.saved.saved_to(target.root)
        except OSError as error:
            raise RecsparkError(f"{path} can't be written: {error}") from error
        finally:
            parent.delete(staged)

    def saveImpl(self, path: str) -> None:
        self.saved.write_parts(path)
        write_metadata(self.saved, path, self.sparkSession)


class _Reader(MLReader):
    def __init__(self, cls: type[Saved]) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Saved:
        """Read an object of the class, or of one derived from it.

        Raise RecsparkError if the folder holds an object of another class.
        """
        check_no_pattern("path", path)
        metadata = read_metadata(path)
        if metadata["class"] == self.cls.mllib_class:
            return _with_params(self.cls.import_parts(path), metadata)
        found = _class_in(metadata)
        if found is None or not issubclass(found, self.cls):
            hint = f": load it by {found.__name__}.load" if found else ""
            raise RecsparkError(f"{path} holds {_short(metadata['class'])}, not {self.cls.__name__}{hint}")
        return _with_params(found.read_parts(path), metadata)


def _with_params(saved: Saved, metadata: Metadata) -> Saved:
    """`saved` with the uid and the Params of the metadata, without Params that its class does not have."""
    saved._resetUid(metadata["uid"])
    maps = {
        "paramMap": metadata.get("paramMap", {}),
        "defaultParamMap": metadata.get("defaultParamMap", {}),
    }
    known = {
        key: {name: value for name, value in values.items() if saved.hasParam(name)}
        for key, values in maps.items()
    }
    DefaultParamsReader.getAndSetParams(saved, {**metadata, **known})
    return saved


def write_metadata(saved: Params, path: str, spark: SparkSession) -> None:
    """Write class, uid and Params of `saved` as ``DefaultParamsWriter.saveMetadata`` does.

    The class is written by its public name.
    """
    folder, name = Folder(path), type(saved).__name__
    metadata = json.loads(DefaultParamsWriter._get_metadata_to_save(saved, spark)) | {
        "class": f"recspark.models.{name}"
    }
    folder.write_bytes("metadata/part-00000", f"{json.dumps(metadata)}\n".encode())
    folder.write_bytes("metadata/_SUCCESS", b"")


def read_metadata(path: str) -> Metadata:
    """The metadata that `write_metadata` or Spark has written for the object in `path`.

    Raise RecsparkError if there is none.
    """
    folder = Folder(path)
    for name in folder.names("metadata"):
        if name.startswith("part-"):
            with folder.fs.open_input_stream(folder.at(f"metadata/{name}")) as stream:
                text = stream.read()
            if text:
                return json.loads(text)
    raise RecsparkError(f"{path} holds no model: there is no metadata")


def saved_class(path: str) -> type[Saved]:
    """The class of the model in `path`. Raise RecsparkError if recspark has no such class."""
    metadata = read_metadata(path)
    found = _class_in(metadata)
    if found is None:
        raise RecsparkError(f"{path} holds {_short(metadata['class'])}, which is not a class of recspark")
    return found


def load_model(path: str) -> Saved:
    """The model in a folder or URI, of the class that was saved there."""
    return saved_class(path).load(path)


def _class_in(metadata: Metadata) -> type[Saved] | None:
    package, _, name = metadata["class"].rpartition(".")
    return find(name) if package.startswith("recspark.") and name in HOMES else None


def _short(name: str) -> str:
    """The short name of a class of recspark, the full name of any other."""
    return name.rpartition(".")[2] if name.startswith("recspark.") else name
