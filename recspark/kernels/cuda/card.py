"""A card: arrays that stay on it, and results that come back when somebody reads them."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import numpy as np
from numba import cuda

Held = TypeVar("Held")

#: share of a card's free memory that new arrays may take before older ones are forgotten
ROOM = 0.8


class Card:
    """The card of this process.

    What is made from arrays of the host stays on the card until one of these arrays is gone, or until other
    arrays need the memory. Arrays must not change once they are here.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        # numba warns of grids of few blocks: sums have such
        for name in ("numba.core.config", "numba.cuda.core.config"):
            if name in sys.modules:
                vars(sys.modules[name])["CUDA_LOW_OCCUPANCY_WARNINGS"] = 0
        self._lock = threading.RLock()
        self._held: dict[tuple[object, ...], object] = {}

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Make the card that of the calling thread, and keep other threads off it."""
        with self._lock:
            cuda.select_device(self.number)
            yield

    def held(self, arrays: tuple[np.ndarray, ...], make: Callable[[], Held], *also: object) -> Held:
        """``make()``, or the result of an earlier call with the same arrays and the same words `also`."""
        key = (*map(id, arrays), *also)
        if key not in self._held:
            self._make_room(sum(array.nbytes for array in arrays))
            self._held[key] = make()
            for array in arrays:
                weakref.finalize(array, self._held.pop, key, None).atexit = False
        return cast(Held, self._held[key])

    def _make_room(self, size: int) -> None:
        if size > ROOM * cuda.current_context().get_memory_info().free:
            self._held.clear()

    def send(self, array: np.ndarray):
        """A copy of `array` on the card. An empty array gets one element, which nobody reads."""
        return cuda.to_device(np.ascontiguousarray(array) if array.size else np.zeros(1, array.dtype))

    def rows(self, factors: np.ndarray, width: int):
        """Rows on the card with zero columns added up to `width`."""
        if isinstance(factors, OnCard):
            return factors.rows
        wide = np.zeros((max(1, len(factors)), width), np.float32)
        wide[: len(factors), : factors.shape[1]] = factors
        return cuda.to_device(wide)

    def vector(self, values: np.ndarray):
        """A vector on the card."""
        return values.rows if isinstance(values, OnCard) else self.send(values)


class OnCard:
    """Rows on the card that numpy reads like an array: they are copied to the host when that happens.

    Parameters
    ----------
    card
        The card.
    rows
        An array on the card, of `shape` or larger.
    shape
        The part of it that counts.
    """

    def __init__(self, card: Card, rows, shape: tuple[int, ...]) -> None:
        self.rows, self.shape = rows, shape
        self.dtype, self.ndim = rows.dtype, len(shape)
        self._card = card
        self._host: np.ndarray | None = None

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if self._host is None:
            with self._card.taken():
                host = to_host(self.rows)
            self._host = np.ascontiguousarray(host[tuple(map(slice, self.shape))])
        return np.array(self._host, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place):
        return np.asarray(self)[place]


def to_host(array) -> np.ndarray:
    """A copy of an array of the card on the host."""
    return array.copy_to_host()


def on_card(card: Card, rows, shape: tuple[int, ...]) -> np.ndarray:
    """An array on the card in the place of an array of numpy: see `OnCard`."""
    return cast(np.ndarray, OnCard(card, rows, shape))
