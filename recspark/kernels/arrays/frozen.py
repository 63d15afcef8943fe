"""Read-only arrays: one compiled version of a kernel serves all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike


def frozen(array: np.ndarray, kind: DTypeLike | None = None) -> np.ndarray:
    """A view of `array` in C order that can't be written.

    It is a copy if the array has another order, or another type than `kind`. numba compiles a kernel once for
    arrays that can be written and once for those that can't, such as mapped files and Arrow's buffers.
    """
    view = np.ascontiguousarray(array, kind).view()
    view.flags.writeable = False
    return view
