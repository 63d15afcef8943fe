"""Feature groups of ratings: declared in a conf, fitted on training rows, given out as sparse rows; docs/leakage.md.

>>> features = FeatureSet.fit(parse_groups(["user", "item", "rated", "day"]), train, users, items)  # doctest: +SKIP
"""
