"""numba's simulator of a card (``NUMBA_ENABLE_CUDASIM=1``), made quick and safe.

It runs a Python thread for each thread of a block. `prepare` changes two things: threads that wait at a
barrier keep the interpreter for 5 ms each, and two threads that ask for a shared array at the same moment may
get one each.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from numba.core import types
from numba.np import numpy_support

#: seconds after which a thread hands over to the next
INTERVAL = 1e-5

_lock = threading.Lock()


def prepare() -> None:
    """Change the simulator of this process; call it before the first kernel."""
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    sys.setswitchinterval(INTERVAL)
    FakeCUDAShared.array = _shared_array


def _shared_array(allocations, shape, dtype, alignment: int | None = None) -> np.ndarray:
    """The one array of a block for the line of the kernel that asks for it."""
    line = sys._getframe(1)
    key, known = (line.f_code, line.f_lineno), allocations._allocations
    with _lock:
        if key not in known:
            known[key] = np.empty(
                shape, numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else dtype
            )
        return known[key]
