"""The files of lists: in a format of Spark, or as one CSV file.

Columns have the lake's names or those of the source.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from recspark.data.naming import source_names
from recspark.errors import ConfigError
from recspark.lake.lake import Lake, Publication
from recspark.lake.manifests import TablesManifest

#: folder of the sorted rows of a CSV file, deleted once that is written; Spark warns of a folder whose name
#: begins with "." or "_"
_PARTS = "parts"


def list_names(lake: Lake, columns: Sequence[str]) -> list[str]:
    """`columns` of lists under the names of the source of the lake's tables.

    Raise ConfigError if two columns would have one name.
    """
    tables = lake.require("tables", TablesManifest, "ingest")
    source = source_names(tables.dataset, tables.options)
    names = [source.get(column, column) for column in columns]
    if len({name.lower() for name in names}) < len(names):
        raise ConfigError(
            f"recommend.columns = 'source' is not allowed: lists would have the columns {', '.join(names)}, "
            "two of one name"
        )
    return names


@contextmanager
def writing(
    lists: DataFrame, publication: Publication, form: str, names: Sequence[str]
) -> Iterator[DataFrame]:
    """Write `lists` under `names` as ``lists`` (a folder of files) or ``lists.csv``.

    Yields the written rows, under their own names.
    """
    table = _PARTS if form == "csv" else "lists"
    kind = "parquet" if form == "csv" else form
    rows = lists.orderBy("user_id", "rank") if form == "csv" else lists
    named = rows.toDF(*names)
    named.write.format(kind).save(publication.path(table))
    yield (
        lists.sparkSession.read.format(kind)
        .schema(named.schema)
        .load(publication.path(table))
        .toDF(*lists.columns)
    )
    if form == "csv":
        _write_csv(publication, names)
        publication.lake.delete(f"{publication.product}/{_PARTS}")


def _write_csv(publication: Publication, names: Sequence[str]) -> None:
    """Write ``lists.csv`` from the files of `_PARTS`, in the order of their names.

    It is UTF-8, with quotes and line ends as in RFC 4180.
    """
    lake, parts = publication.lake, f"{publication.product}/{_PARTS}"
    with lake.fs.open_output_stream(lake.at(f"{publication.product}/lists.csv")) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(names)
        for name in lake.names(parts):
            if name.endswith(".parquet"):
                with pq.ParquetFile(lake.at(f"{parts}/{name}"), filesystem=lake.fs) as file:
                    for batch in file.iter_batches():
                        # as text here: float32 has its shortest digits only while it is float32
                        writer.writerows(
                            zip(
                                *(column.cast(pa.string()).to_pylist() for column in batch.columns),
                                strict=True,
                            )
                        )
        text.flush()
        text.detach()
