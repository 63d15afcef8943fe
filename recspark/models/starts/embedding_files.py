"""The arrays in a file or folder of embeddings of any program; nothing that is read can run code.

A pickle is read by PyTorch's loader of tensors or not at all.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Protocol, Self, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from recspark.config import brief
from recspark.errors import ConfigError, DataRejected, RecsparkError
from recspark.lake.folder import Folder, locate

#: arrays, lists or Arrow arrays by name
Arrays = Mapping[str, object]

#: before this version a file could make PyTorch's loader of tensors run code (CVE-2025-32434)
SAFE_TORCH = (2, 6)


def read_arrays(path: str, tables: Sequence[str] | None = None) -> Arrays:
    """The arrays in `path`, by name; from a folder the Parquet `tables`, all if not given.

    Raises
    ------
    ConfigError, DataRejected
        As :func:`recspark.models.starts.embeddings.read_embeddings`.
    """
    fs, place = locate(path)
    kind = fs.get_file_info(place).type
    if kind == pafs.FileType.NotFound:
        raise ConfigError(f"{path} does not exist: it must be {_ALLOWED}")
    if kind == pafs.FileType.Directory:
        return _read_parquet(path, tables)
    reader = READERS.get(PurePosixPath(place).suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is of no known format: it must be {_ALLOWED}")
    with fs.open_input_stream(place, compression=None) as stream:
        return reader(path, stream.read())


def _read_parquet(path: str, tables: Sequence[str] | None) -> Arrays:
    folder, arrays = Folder(path), {}
    wanted = tables or [
        name.removesuffix(".parquet")
        for name in folder.names("")
        if name.endswith(".parquet") or "." not in name
    ]
    for table in wanted:
        name = table if folder.exists(table) else f"{table}.parquet"
        if not folder.exists(name):
            raise DataRejected(
                f"{path} has neither {table} nor {table}.parquet: it must have Parquet tables "
                f"{' and '.join(wanted)}"
            )
        rows = _rows(folder, name)
        if "features" not in rows.column_names:
            raise DataRejected(
                f"{path}/{name} has no column features: its columns are {', '.join(rows.column_names)}"
            )
        arrays[f"{table}_emb"] = _matrix(f"{path}/{name}", rows["features"])
        if "id" in rows.column_names:
            arrays[f"{table}_id"] = rows["id"].combine_chunks()
        if "bias" in rows.column_names:
            arrays[f"{table}_bias"] = rows["bias"].to_numpy()
    return arrays


def _rows(folder: Folder, name: str) -> pa.Table:
    try:
        return ds.dataset(folder.at(name), filesystem=folder.fs, format="parquet").to_table()
    except (pa.ArrowException, OSError) as error:
        raise DataRejected(f"{folder.path(name)} is not a readable Parquet table: {brief(error)}") from None


def _matrix(path: str, column: pa.ChunkedArray) -> np.ndarray:
    """A column of lists as a matrix (rows, factors)."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataRejected(f"{path}: column features is {kind}, it must be lists of numbers")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1 or None in lengths:
        found = ", ".join(map(str, lengths[:5]))
        raise DataRejected(
            f"{path}: features have lengths {found}; all rows must have the same number of factors"
        )
    return pc.list_flatten(column).to_numpy().reshape(len(column), lengths[0] if lengths else 0)


def _read_npz(path: str, content: bytes) -> Arrays:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is a single array")
        return {key: archive[key] for key in archive.files}
    except Exception as error:  # a damaged archive can fail in any layer of zip and numpy
        raise DataRejected(f"{path} is not an .npz file of plain arrays: {brief(error)}") from None


def _read_safetensors(path: str, content: bytes) -> Arrays:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise RecsparkError(
            f"{path} needs the package safetensors: pip install 'recspark[embeddings]'"
        ) from None
    try:
        return load(content)
    except (SafetensorError, KeyError) as error:
        raise DataRejected(
            f"{path} is not a .safetensors file of a type that numpy has: {brief(error)}"
        ) from None


def _read_torch(path: str, content: bytes) -> Arrays:
    try:
        import torch
    except ImportError:
        raise RecsparkError(
            f"{path} is a PyTorch file, to read it needs the package torch: pip install 'recspark[torch]'"
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        old = f"torch {torch.__version__} may run code that a file holds, at least 2.6 is needed"
        raise RecsparkError(f"{path}: {old}: pip install 'recspark[torch]'")
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own advice is to read it all the same
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds more than tensors ({found[1]})" if found else "is damaged or holds more than tensors"
        raise DataRejected(
            f"{path} {what}, and to read it could run code: save a state_dict or a dict of tensors"
        ) from None
    except Exception as error:  # a file of another kind fails in any layer of zip and pickle
        raise DataRejected(f"{path} is not a readable PyTorch file: {brief(error)}") from None
    return {key: _from_torch(value) for key, value in _flat(loaded)}


def _flat(value: object, key: str = "") -> list[tuple[str, object]]:
    """The leaves of nested dictionaries, with their keys joined by dots."""
    if not isinstance(value, Mapping):
        return [(key, value)]
    return [
        leaf for name, inner in value.items() for leaf in _flat(inner, f"{key}.{name}" if key else str(name))
    ]


@runtime_checkable
class _Tensor(Protocol):
    """A tensor of PyTorch, as far as it is read here."""

    def is_floating_point(self) -> bool: ...

    def detach(self) -> Self: ...

    def float(self) -> Self: ...

    def numpy(self) -> np.ndarray: ...


def _from_torch(value: object) -> object:
    if not isinstance(value, _Tensor):
        return value
    # numpy has no bfloat16
    return (value.detach().float() if value.is_floating_point() else value).numpy()


READERS = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pt": _read_torch, ".pth": _read_torch}

_ALLOWED = (
    f"a saved model, a folder of Parquet tables users and items, or a file that ends in {', '.join(READERS)}"
)
