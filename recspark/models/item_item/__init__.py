"""Models whose score of an item is a weighted sum over the items that the user has."""
