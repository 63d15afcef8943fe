"""Any other ratings: CSV or Parquet files with a mapping of columns and ids of any type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.fs as pafs

from recspark.config import Check, Option, Section, above, one_of
from recspark.data import schemas
from recspark.data.download import BASE_URL
from recspark.data.layout import Layout, field_names, parquet_file, plan
from recspark.data.movielens import EDITIONS
from recspark.data.quality import IDS, Rules, judged
from recspark.data.rows import read
from recspark.errors import ConfigError

#: the formats that are no edition of MovieLens
GENERIC = ("csv", "parquet")
DATASETS = (*EDITIONS, *GENERIC)

#: how repeated pairs become one row
MERGED = ("sum", "mean")
DUPLICATES = "what becomes of repeated pairs: one row stays, or all are merged; not set: sum without ratingColumn, else last"
#: an id that loses nothing as a number
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_SEPARATOR = Check(lambda text: bool(text) and not set(text) & set('"\r\n'), "not empty, without quotes and line ends")


class DataOptions(Section):
    """What to ingest and how to read it. The options from `userColumn` on are for data other than MovieLens."""

    name = "data"
    source = Option(str, None, "a zip, a folder, a CSV or Parquet file, or any URI of one; not set: `dataset` is downloaded")
    dataset = Option(str, None, "the edition, where the source does not tell, or which to download", one_of(*DATASETS))
    users = Option(str, None, "what is known of users: as source, with userColumn and any other columns; the table users has these")
    items = Option(str, None, "what is known of items: as users, with itemColumn")
    baseUrl = Option(str, BASE_URL, "where editions are downloaded from")
    cacheFolder = Option(str, None, "where downloads are kept; not set: the user's cache folder")
    userColumn = Option(str, "user_id", "column of the user id; `_c0`, `_c1`... in a file without a header")
    itemColumn = Option(str, "item_id", "column of the item id")
    ratingColumn = Option(str, "rating", 'column of the rating; "": rows are events without one, such as clicks, and count 1 each')
    duplicates = Option(str, None, DUPLICATES, one_of("last", "first", *MERGED))
    timestampColumn = Option(str, None, "column of the moment; not set: `timestamp` where there is one")
    timestampUnit = Option(str, "s", "unit of the moment, counted from 1970-01-01 UTC", one_of("s", "ms"))
    idType = Option(str, "auto", "type of ids; auto: bigint where most of the first are whole numbers", one_of("auto", "bigint", "string"))
    separator = Option(str, ",", "what separates the fields of a CSV file; quotes work with one character", _SEPARATOR)
    header = Option(bool, True, "whether a CSV file's first line names its columns")
    encoding = Option(str, "utf-8", "encoding of a CSV file", one_of("utf-8", "latin-1"))
    ratingMin = Option(float, None, "lowest rating allowed; not set: the edition's, or any")
    ratingMax = Option(float, None, "highest rating allowed; not set: the edition's, or any")
    ratingStep = Option(float, None, "distance between rating levels, counted from ratingMin; not set: the edition's, or any", above(0))

    @property
    def duplicate_rule(self) -> str:
        """What becomes of repeated pairs."""
        return self.duplicates or ("last" if self.ratingColumn else "sum")

    def rules(self, rules: Rules) -> Rules:
        """`rules` with the limits that are set here in their place."""
        limits = {"rating_min": self.ratingMin, "rating_max": self.ratingMax, "rating_step": self.ratingStep}
        return replace(rules, **{name: value for name, value in limits.items() if value is not None})


def generic_files(data: DataOptions, members: Iterable[str], option: str = "source") -> tuple[str, dict[str, Layout]]:
    """``csv`` or ``parquet``, and the members of that format with the layouts of ratings; ConfigError where there are none.

    `members` are those of ``data.source``, whose format ``data.dataset`` may set, or of another `option`.
    """
    members = list(members)
    parquet = [name for name in members if name.endswith(".parquet")]
    named = data.dataset if option == "source" else None
    dataset = named or ("parquet" if parquet else "csv")
    text = members if named or len(members) == 1 else [name for name in members if name.endswith((".csv", ".tsv"))]
    found = parquet if dataset == "parquet" else text
    if not found:
        found_instead = f"has no {dataset} file (it has {', '.join(sorted(members)[:5]) or 'no file'})"
        if option != "source":
            raise ConfigError(f"data.{option} = {getattr(data, option)!r} {found_instead}: it must have CSV or Parquet files")
        raise ConfigError(
            f"data.source = {data.source!r} is no MovieLens edition and {found_instead}: set data.dataset to one of {', '.join(DATASETS)}"
        )
    rename = ((data.userColumn, "user_id"), (data.itemColumn, "item_id"), (data.ratingColumn, "rating"))
    merged = data.duplicate_rule in MERGED
    layout = Layout(
        "ratings",
        # what is summed keeps its digits until then
        schemas.with_types(schemas.RATINGS, {"rating": "double"}) if merged else schemas.RATINGS,
        rename=rename if data.ratingColumn else rename[:2],
        separator=data.separator,
        quoted=len(data.separator) == 1,
        encoding=data.encoding,
        header=data.header,
        parquet=dataset == "parquet",
        ticks=1000 if data.timestampUnit == "ms" else 1,
        constants=() if data.ratingColumn else (("rating", 1.0),),
        duplicates="all" if merged else data.duplicate_rule,
    )
    return dataset, dict.fromkeys(found, layout)


def with_moment(data: DataOptions, layout: Layout, fs: pafs.FileSystem, member: str, path: str) -> Layout:
    """`layout` with the column of the moment, where one is set or the file has the usual one."""
    moment = data.timestampColumn or "timestamp"
    if data.timestampColumn is None and moment not in field_names(fs, member, path, layout):
        return layout
    return replace(layout, rename=(*layout.rename, (moment, "timestamp")))


def id_types(data: DataOptions, layout: Layout, fs: pafs.FileSystem, member: str, path: str) -> dict[str, str]:
    """The types of a table's ids (``bigint`` or ``string``), by column: as set, as Parquet has them, or as most of the first MiB.

    Most, not all, so that one stray line does not turn every id to text: it goes to quarantine, where it is seen.
    """
    ids = [name for name in judged(layout.table) if name in IDS]
    if data.idType != "auto":
        return dict.fromkeys(ids, data.idType)
    if layout.parquet:
        types = dict(layout.rename)
        with parquet_file(fs, member, path) as parquet:
            columns = {types[field.name]: field.type for field in parquet.schema_arrow if field.name in types}
        numeric = {name: pa.types.is_integer(type_) or pa.types.is_floating(type_) for name, type_ in columns.items()}
    else:
        as_text = replace(layout, schema=schemas.with_types(layout.schema, dict.fromkeys(ids, "string")))
        sample = next((read(fs, chunk).table for chunk in plan(fs, member, path, as_text, 1 << 20)), None)
        numeric = {name: sample is None or _mostly_numbers(sample[name].to_pylist()) for name in ids}
    return {name: "bigint" if numeric[name] else "string" for name in ids}


def _mostly_numbers(ids: list[str]) -> bool:
    return 2 * sum(_NUMBER.fullmatch(text.strip()) is not None for text in ids) >= len(ids)
