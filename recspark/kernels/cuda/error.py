"""The kernels that measure: squared errors of entries, and sums in an order that never changes."""

from __future__ import annotations

from functools import cache

from numba import cuda, float32, float64

from recspark.kernels.cuda.layout import SIMULATED

#: threads that share one entry, and entries of a block at a time
LANES, ENTRIES = (2, 2) if SIMULATED else (8, 16)
#: threads and most blocks of a sum
SUM_THREADS, SUM_BLOCKS = (2, 2) if SIMULATED else (32, 64)


@cache
def error_kernel(width: int, weighted: bool):
    """The kernel ``error[slots, LANES * ENTRIES](owner, slots, entries, source, own, bounds, errors)``.

    `owner` is the row of each slot; `errors`, float64 (slots, 2), gets sum w (r - p)^2 and sum w.
    """

    @cuda.jit(cache=True)
    def error(owner, slots, entries, source, own, bounds, errors):
        x = cuda.shared.array(width, float32)
        parts = cuda.shared.array((ENTRIES, LANES), float32)
        totals = cuda.shared.array((2, ENTRIES), float64)
        tid, slot = cuda.threadIdx.x, cuda.blockIdx.x
        place, lane = tid // LANES, tid % LANES
        row = owner[slot]
        for column in range(tid, width, LANES * ENTRIES):
            x[column] = own.factors[row, column]
        offset = bounds.mean + own.bias[row]
        begin, end = slots.starts[slot], slots.stops[slot]
        total, mass = float64(0), float64(0)
        cuda.syncthreads()
        for first in range(begin, end, ENTRIES):
            entry, dot = first + place, float32(0)
            if entry < end:
                k = entries.indices[entry]
                for column in range(lane, width, LANES):
                    dot += source.factors[k, column] * x[column]
            parts[place, lane] = dot
            cuda.syncthreads()
            if lane == 0 and entry < end:
                k = entries.indices[entry]
                score = offset + source.bias[k]
                for n in range(LANES):
                    score += parts[place, n]
                residual = float64(entries.values[entry] - min(max(score, bounds.low), bounds.high))
                w = float64(entries.weights[entry]) if weighted else float64(1)
                total += w * residual * residual
                mass += w
            cuda.syncthreads()
        if lane == 0:
            totals[0, place] = total
            totals[1, place] = mass
        cuda.syncthreads()
        if tid < 2:
            total = float64(0)
            for n in range(ENTRIES):
                total += totals[tid, n]
            errors[slot, tid] = total

    return error


@cuda.jit(cache=True)
def sum_columns(values, sums):
    """``sums[blocks, SUM_THREADS]``: each block adds up every so many rows of `values`, float64 (n, m).

    Its sums are its row of `sums`, float64 (blocks, m). The order depends on the number of blocks alone.
    """
    parts = cuda.shared.array(SUM_THREADS, float64)
    tid, block = cuda.threadIdx.x, cuda.blockIdx.x
    for column in range(values.shape[1]):
        total = float64(0)
        for row in range(block * SUM_THREADS + tid, values.shape[0], SUM_THREADS * cuda.gridDim.x):
            total += values[row, column]
        parts[tid] = total
        cuda.syncthreads()
        if tid == 0:
            total = float64(0)
            for t in range(SUM_THREADS):
                total += parts[t]
            sums[block, column] = total
        cuda.syncthreads()


@cuda.jit(cache=True)
def add_slots(parts, count, more, out):
    """Add up the Gram matrices of `count` slots, float32 (slots, elements, tiles), one block per element.

    `out`, float32 (elements, tiles), is added too if `more`.
    """
    element = cuda.blockIdx.x
    for tile in range(cuda.threadIdx.x, parts.shape[2], cuda.blockDim.x):
        total = out[element, tile] if more else float32(0)
        for slot in range(count):
            total += parts[slot, element, tile]
        out[element, tile] = total
