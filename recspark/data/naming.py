"""The source's own names of the columns that the lake calls user_id, item_id and rating."""

from __future__ import annotations

from collections.abc import Mapping

from recspark.data.formats.movielens import EDITIONS

#: options of ``[data]`` that name columns, by the lake's names
_OPTIONS = {"user_id": "userColumn", "item_id": "itemColumn", "rating": "ratingColumn"}


def source_names(dataset: str, options: Mapping[str, object]) -> dict[str, str]:
    """The source's own names by the lake's, from dataset and options of the manifest of ``tables``.

    Columns that the source has no name for are left out.

    >>> options = {"userColumn": "customer", "itemColumn": "sku", "ratingColumn": "stars"}
    >>> source_names("csv", options)
    {'user_id': 'customer', 'item_id': 'sku', 'rating': 'stars'}
    >>> source_names("ml-latest", {})
    {'user_id': 'userId', 'item_id': 'movieId', 'rating': 'rating'}
    """
    if dataset in EDITIONS:
        [layout] = [layout for layout in EDITIONS[dataset].files.values() if layout.table == "ratings"]
        named = {column: field for field, column in layout.rename}
    else:
        named = {column: str(options.get(option) or "") for column, option in _OPTIONS.items()}
    return {column: named[column] for column in _OPTIONS if named.get(column)}
