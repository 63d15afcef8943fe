"""Any other ratings: CSV or Parquet files with a mapping of columns, lists of items, and ids of any type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from recspark.config import Check, Option, Section, above, one_of
from recspark.data import schemas
from recspark.data.formats.binding import field_names
from recspark.data.formats.encoding import AUTO
from recspark.data.formats.layout import Layout, chunks_alone, parquet_file
from recspark.data.formats.movielens import EDITIONS, NoDataFile
from recspark.data.formats.notation import NULLS, TICKS, Notation
from recspark.data.formats.rows import read
from recspark.data.formats.timestamps import TIME_FORMAT
from recspark.data.lakehouse.names import TABLE_NAME
from recspark.data.lakehouse.versions import AS_OF
from recspark.data.quality import IDS, Rules, judged
from recspark.data.sources.download import BASE_URL
from recspark.data.sources.names import plain_name
from recspark.errors import ConfigError

#: the formats of files other than editions of MovieLens
_FILES = ("csv", "parquet", "adjacency")
#: the format of tables of a catalog
TABLE = "table"
#: all that is not an edition of MovieLens
GENERIC = (*_FILES, TABLE)
DATASETS = (*EDITIONS, *_FILES)

#: how repeated pairs become one row
MERGED = ("sum", "mean")
DUPLICATES = (
    "rule for repeated pairs: one row stays, or all are merged; not set: sum without ratingColumn, else last"
)
#: the endings of the files of a format in a folder or archive
_ENDINGS = {"csv": (".csv", ".tsv"), "parquet": (".parquet",), "adjacency": (".txt",)}

#: an id that keeps all its characters as a number
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_TEXTS = Check(lambda values: all(isinstance(value, str) for value in values), "of strings")
_SEPARATOR = Check(
    lambda text: bool(text) and not set(text) & set('"\r\n'), "not empty, without quotes and line ends"
)


class _Version(Option[str]):
    """A version as a number or as text."""

    def parse(self, key: str, value: object) -> str | None:
        return super().parse(key, str(value) if type(value) is int else value)


class DataOptions(Section):
    """The input and its notation. The options from `userColumn` on are for data other than MovieLens."""

    name = "data"
    source = Option(
        str,
        None,
        "a zip, a folder, a CSV or Parquet file, or any URI of one, or `table:NAME`, a table of Spark's "
        "catalogs; not set: `dataset` is downloaded",
    )
    asOf = _Version(
        str,
        None,
        "version of the table that is data.source: its number, or a time in ISO 8601, UTC without a zone; "
        "not set: the last",
        AS_OF,
    )
    dataset = Option(
        str,
        None,
        "the edition or format, where the source does not tell, or the edition to download",
        one_of(*DATASETS),
    )
    users = Option(
        str,
        None,
        "data about users: as source, with userColumn and any other columns; the table users has these",
    )
    items = Option(str, None, "data about items: as users, with itemColumn")
    tables = Option(
        str,
        None,
        "catalog and schema, such as catalog.schema, that get the tables of the lake too, as ratings, users, "
        "items, tags and quarantine",
        TABLE_NAME,
    )
    baseUrl = Option(str, BASE_URL, "where editions are downloaded from")
    cacheFolder = Option(str, None, "where downloads are kept; not set: the user's cache folder")
    userColumn = Option(str, "user_id", "column of the user id; `_c0`, `_c1`... in a file without a header")
    itemColumn = Option(str, "item_id", "column of the item id")
    ratingColumn = Option(
        str,
        "rating",
        'column of the rating; "": rows are events without one, such as clicks, and count 1 each',
    )
    duplicates = Option(str, None, DUPLICATES, one_of("last", "first", *MERGED))
    timestampColumn = Option(str, None, "column of the timestamp; not set: `timestamp` if there is one")
    timestampUnit = Option(
        str, "s", "unit of timestamps that are numbers, counted from 1970-01-01 UTC", one_of(*TICKS)
    )
    timestampFormat = Option(
        str,
        None,
        "strptime format of timestamps; not set: numbers in timestampUnit and ISO 8601",
        TIME_FORMAT,
    )
    idType = Option(
        str,
        "auto",
        "type of ids; auto: bigint where most of the first are whole numbers",
        one_of("auto", "bigint", "string"),
    )
    separator = Option(
        str, ",", "separator of the fields of a CSV file; quotes work with one character", _SEPARATOR
    )
    header = Option(bool, True, "whether a CSV file's first line names its columns")
    encoding = Option(
        str,
        AUTO,
        "encoding of CSV files; auto: each file decides by its bytes",
        one_of(AUTO, "utf-8", "latin-1"),
    )
    decimal = Option(str, ".", "decimal mark of numbers that are text", one_of(".", ","))
    nullValues = Option(
        list, list(NULLS), "texts of a CSV file that mean a missing value, as an empty field does", _TEXTS
    )
    ratingMin = Option(float, None, "lowest rating allowed; not set: the edition's, or any")
    ratingMax = Option(float, None, "highest rating allowed; not set: the edition's, or any")
    ratingStep = Option(
        float,
        None,
        "distance between rating levels, counted from ratingMin; not set: the edition's, or any",
        above(0),
    )

    @property
    def has_ratings(self) -> bool:
        """Whether rows have a rating; else they are events that count 1 each."""
        return bool(self.ratingColumn) and self.dataset != "adjacency"

    @property
    def duplicate_rule(self) -> str:
        """The rule for repeated pairs."""
        return self.duplicates or ("last" if self.has_ratings else "sum")

    def rules(self, rules: Rules) -> Rules:
        """`rules`, in which the limits that are set here replace the others."""
        return replace(
            rules,
            rating_min=rules.rating_min if self.ratingMin is None else self.ratingMin,
            rating_max=rules.rating_max if self.ratingMax is None else self.ratingMax,
            rating_step=rules.rating_step if self.ratingStep is None else self.ratingStep,
        )


def generic_files(
    data: DataOptions, members: Iterable[str], setting: str | None = None, dataset: str | None = None
) -> tuple[str, dict[str, Layout]]:
    """The format, such as ``csv``, and the members of that format with the layouts of ratings.

    `members` are those of ``data.source``, whose format ``data.dataset`` may set. Or they are of another
    option: `setting` is that option with its value, for messages, and `dataset` the format, if it is set.
    Raise NoDataFile if there are none.
    """
    members = list(members)
    named = dataset if setting else data.dataset
    dataset = named or ("parquet" if any(map(_has_format("parquet"), members)) else "csv")
    any_name = dataset != "parquet" and (len(members) == 1 or (dataset == "csv" and named is not None))
    found = members if any_name else list(filter(_has_format(dataset), members))
    if not found:
        found_instead = f"has no {dataset} file (it has {', '.join(sorted(members)[:5]) or 'no file'})"
        if setting:
            needed = f"{named} files, as data.dataset says" if named else "CSV or Parquet files"
            raise NoDataFile(f"{setting} {found_instead}: it must have {needed}")
        raise NoDataFile(
            f"data.source = {data.source!r} is no MovieLens edition and {found_instead}: set data.dataset to "
            f"one of {', '.join(DATASETS)}"
        )
    if dataset == "csv" and data.decimal == data.separator and not data.header:
        # with a header, a number that is not quoted makes its row too long, and is noticed
        raise ConfigError(
            f"data.decimal and data.separator are both {data.decimal!r} and data.header is false: a number "
            "that is not quoted "
            "would be read as two fields. Set data.separator to what separates the fields, or give the file "
            "a header"
        )
    if dataset == "adjacency":
        return dataset, dict.fromkeys(found, _list_layout(data))
    return dataset, dict.fromkeys(found, rating_layout(data, dataset == "parquet"))


def _has_format(dataset: str) -> Callable[[str], bool]:
    """Whether the name of a file is one of that format."""
    return lambda name: plain_name(name).lower().endswith(_ENDINGS[dataset])


def _list_layout(data: DataOptions) -> Layout:
    """The layout of a file of lists: a line has a user and items, without a header, ratings or timestamps."""
    if data.timestampColumn is not None:
        raise ConfigError(
            f"data.timestampColumn = {data.timestampColumn!r} is not allowed with data.dataset = "
            "'adjacency': a list of items has no times"
        )
    layout = rating_layout(data, parquet=False)
    rename = (("user", "user_id"), ("item", "item_id"))
    return replace(layout, names=IDS, rename=rename, header=False, notation=Notation(()), lists=True)


def rating_layout(data: DataOptions, parquet: bool) -> Layout:
    """The layout of a file of ratings, Parquet or text, of which `data` names the columns."""
    rename = ((data.userColumn, "user_id"), (data.itemColumn, "item_id"), (data.ratingColumn, "rating"))
    merged = data.duplicate_rule in MERGED
    return Layout(
        "ratings",
        # values to be summed keep their digits until then
        schemas.with_types(schemas.RATINGS, {"rating": "double"}) if merged else schemas.RATINGS,
        rename=rename if data.has_ratings else rename[:2],
        separator=data.separator,
        quoted=len(data.separator) == 1,
        encoding=data.encoding,
        header=data.header,
        parquet=parquet,
        notation=Notation(tuple(data.nullValues), data.decimal, data.timestampUnit, data.timestampFormat),
        constants=() if data.has_ratings else (("rating", 1.0),),
        duplicates="all" if merged else data.duplicate_rule,
    )


def with_timestamp(data: DataOptions, layout: Layout, fs: pafs.FileSystem, member: str, path: str) -> Layout:
    """`layout` with the column of the timestamp, if one is set or the file or its path has the usual one.

    Parameters
    ----------
    data
        The options of ``[data]``.
    layout
        The layout without the column.
    fs, member, path
        The file's file system, its name in the source, and its path.
    """
    column = data.timestampColumn or "timestamp"
    if layout.lists:
        return layout
    if data.timestampColumn is None and column not in (
        *field_names(fs, member, path, layout),
        *dict(layout.partition),
    ):
        return layout
    return replace(layout, rename=(*layout.rename, (column, "timestamp")))


def id_types(
    data: DataOptions, layouts: Mapping[str, Layout], fs: pafs.FileSystem, paths: Mapping[str, str]
) -> dict[str, str]:
    """The types of a table's ids (``bigint`` or ``string``), by column.

    They are as set, as Parquet has them, or as most of a MiB of text. The first file, or MiB, that has values
    decides; without any, ids are numbers. Most instead of all, so that one stray line does not turn every id
    into text: it goes to quarantine, where it is noticed. An id in the path is judged by the paths of all
    files.
    """
    (table,) = {layout.table for layout in layouts.values()}
    ids = [name for name in judged(table) if name in IDS]
    if data.idType != "auto":
        return dict.fromkeys(ids, data.idType)
    numeric: dict[str, bool] = {}
    for found in chain([_in_paths(layouts, ids)], _in_files(layouts, ids, fs, paths)):
        numeric = {name: is_number for name, is_number in found.items() if is_number is not None} | numeric
        if numeric.keys() >= set(ids):
            break
    return {name: "bigint" if numeric.get(name, True) else "string" for name in ids}


def _in_paths(layouts: Mapping[str, Layout], ids: Iterable[str]) -> dict[str, bool | None]:
    """Whether the ids in the path of the first file are numbers in the paths of all files."""
    values = [dict(layout.partition) for layout in layouts.values()]
    return {
        name: _mostly_numbers([each.get(name) for each in values])
        for name in ids
        if name in dict(layouts[min(layouts)].partition)
    }


def _in_files(
    layouts: Mapping[str, Layout], ids: Iterable[str], fs: pafs.FileSystem, paths: Mapping[str, str]
) -> Iterator[dict[str, bool | None]]:
    """Whether the columns of ids hold numbers, for each part of the files in turn; None without a value."""
    for member, layout in sorted(layouts.items()):
        if layout.parquet:
            yield _in_parquet(layout, fs, member, paths[member])
            continue
        as_text = replace(layout, schema=schemas.with_types(layout.schema, dict.fromkeys(ids, "string")))
        for chunk in chunks_alone(fs, member, paths[member], as_text, 1 << 20):
            table = read(fs, chunk).table
            yield {name: _mostly_numbers(table[name].to_pylist()) for name in ids}


def _in_parquet(layout: Layout, fs: pafs.FileSystem, member: str, path: str) -> dict[str, bool | None]:
    types = dict(layout.rename)
    with parquet_file(fs, member, path) as parquet:
        found = [field for field in parquet.schema_arrow if field.name in types]
        return {
            types[field.name]: _is_number(field.type) if _has_values(parquet, field.name) else None
            for field in found
        }


def _has_values(parquet: pq.ParquetFile, column: str) -> bool:
    """Whether a column of a Parquet file has a value; reading stops at the first batch of rows with one."""
    return any(batch.column(0).null_count < len(batch) for batch in parquet.iter_batches(columns=[column]))


def _is_number(type_: pa.DataType) -> bool | None:
    return None if pa.types.is_null(type_) else pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _mostly_numbers(ids: list[str | None]) -> bool | None:
    """Whether most of the given ids are numbers; None if none is given."""
    given = [text for text in ids if text is not None]
    return 2 * sum(_NUMBER.fullmatch(text) is not None for text in given) >= len(given) if given else None
