"""Input: formats, row rules, the lake and its products, index, splits, generated data."""
