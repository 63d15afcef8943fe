"""Arrays as numba compiles for: one version of a kernel serves all that is frozen."""

from __future__ import annotations

from typing import Any

import numpy as np


def frozen(array: np.ndarray, kind: Any = None) -> np.ndarray:
    """A view of `array` in C order that can't be written; a copy where it has another order or another type
    than `kind`.

    numba compiles a kernel anew for arrays that can be written and for those that can't, such as mapped files
    and Arrow's buffers.
    """
    view = np.ascontiguousarray(array, kind).view()
    view.flags.writeable = False
    return view
