"""Feature groups of ratings: declared in a conf, fitted on training rows, given out as sparse rows;
docs/leakage.md.

>>> groups = parse_groups(["user", "item", "rated", "day"])
>>> features = FeatureSet.fit(groups, train, users, items)  # doctest: +SKIP
"""
