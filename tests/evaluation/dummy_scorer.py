"""Scorers that hold their arrays: small enough to be pickled."""

import numpy as np


class ArrayScorer:
    """A whole score matrix, users x items."""

    def __init__(self, user_ids, item_ids, matrix):
        self.user_ids = np.array(user_ids)
        self.item_ids = np.array(item_ids)
        self.matrix = np.array(matrix, np.float32)

    def scores(self, user_positions):
        return self.matrix[user_positions]
