"""A source read as ingest reads it, without Spark and before rows are judged."""

from recspark.data import work as planned
from recspark.data.formats.generic import DataOptions
from recspark.data.formats.rows import read
from recspark.data.quality import QualityOptions
from recspark.data.sources.archive import open_source
from recspark.lake.lake import Lake


def found(tmp_path, source, **options):
    """The ratings of each file of a source, and the types of user and item ids."""
    data = DataOptions(source=str(source), **options)
    with open_source(None, Lake(str(tmp_path / "lake")), data.source, QualityOptions()) as opened:
        dataset, layouts = planned.formats(data, {planned.MAIN: opened})
        work = planned.plan_work(None, data, dataset, {planned.MAIN: opened}, layouts)
        rows = {}
        for chunk in work.chunks:
            rows.setdefault(chunk.member, []).extend(read(work.fs[chunk.source], chunk).table.to_pylist())
    types = dict(map(str.split, work.loaded["ratings"].split(",")))
    return rows, (types["user_id"], types["item_id"])
