"""The kernel that fills normal equations: Gram matrices of source rows, right sides, and dense Gram matrices.

A block has `Shape.groups` groups of `Shape.chunk` threads. Each group works on a slot of its own, so short
rows fill a block too. `Shape.panel` source rows at a time are gathered into shared memory, each multiplied by
the root of its weight; then each thread adds up its tile in registers.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, float32, float64, int32

from recspark.kernels.cuda.layout import ELEMENTS, SIMULATED, TILE, Shape

#: registers of a thread: with 128 two blocks fit a multiprocessor, with the 150 that the compiler would take
#: one. The simulator knows no registers
LIMIT = {} if SIMULATED else {"max_registers": 128}


class Slots(NamedTuple):
    """`Order.starts` and `Order.stops` on the card."""

    starts: np.ndarray
    stops: np.ndarray


class Systems(NamedTuple):
    """Parts of the normal equations, one per slot of a batch, on the card.

    Parameters
    ----------
    grams
        float32 (slots, TILE * TILE, tiles): Y'WY.
    rights
        float64 (slots, 2, width): Y'Wt and, with biases, Y'W1.
    targets
        float64 (slots,): with biases, the sum of w t.
    """

    grams: np.ndarray
    rights: np.ndarray
    targets: np.ndarray


@cache
def fill_kernel(shape: Shape, weighted: bool, biased: bool):
    """The kernel ``fill[blocks, threads](first, count, slots, pairs, entries, source, mean, systems)``.

    It fills `systems` from `count` slots, the first of which is slot `first`; `pairs` are `tile_pairs`.
    Blocks are (count / groups, tiles / chunk), threads groups * chunk.
    """
    _, width, sides, tiles, chunk, groups, panel = shape
    stride, own = shape.stride, -(-width // chunk)
    floats, places = groups * stride, groups * panel

    @cuda.jit(cache=True, **LIMIT)
    def fill(first, count, slots, pairs, entries, source, mean, systems):
        rows = cuda.shared.array(floats, float32)
        place = cuda.shared.array(places, int32)
        target = cuda.shared.array(places, float32)
        weight = cuda.shared.array(places, float32)
        products = cuda.local.array(ELEMENTS, float32)
        x = cuda.local.array(TILE, float32)
        y = cuda.local.array(TILE, float32)
        b = cuda.local.array(own, float64)
        c = cuda.local.array(own, float64)
        panel_b = cuda.local.array(own, float32)
        panel_c = cuda.local.array(own, float32)
        group, lane = cuda.threadIdx.x // chunk, cuda.threadIdx.x % chunk
        tile = cuda.blockIdx.y * chunk + lane
        slot = cuda.blockIdx.x * groups + group
        i, j, begin, end = 0, 0, 0, 0
        if tile < tiles:
            i, j = pairs[tile, 0], pairs[tile, 1]
        if slot < count:
            begin, end = slots.starts[first + slot], slots.stops[first + slot]
        # slots are ordered by length: no other of this block is longer than its first
        leader = first + cuda.blockIdx.x * groups
        longest = slots.stops[leader] - slots.starts[leader]
        for e in range(ELEMENTS):
            products[e] = 0
        for m in range(own):
            b[m] = 0
            c[m] = 0
        target_sum = float64(0)
        for offset in range(0, longest, panel):
            for t in range(lane, panel, chunk):
                entry = begin + offset + t
                place[group * panel + t] = -1
                if entry < end:
                    k = entries.indices[entry]
                    w = entries.weights[entry] if weighted else float32(1)
                    place[group * panel + t] = k
                    target[group * panel + t] = w * (entries.values[entry] - mean - source.bias[k])
                    weight[group * panel + t] = w
            cuda.syncthreads()
            for m in range(own):
                panel_b[m] = 0
                panel_c[m] = 0
            panel_sum = float32(0)
            for t in range(panel):
                k = place[group * panel + t]
                goal, w, root = float32(0), float32(0), float32(0)
                if k >= 0:
                    goal, w = target[group * panel + t], weight[group * panel + t]
                    root = math.sqrt(w) if weighted else w
                panel_sum += goal
                for m in range(own):
                    column = lane + m * chunk
                    if column < width:
                        value = source.factors[k, column] if k >= 0 else float32(0)
                        rows[group * stride + t * width + column] = root * value
                        panel_b[m] += goal * value
                        if biased:
                            panel_c[m] += w * value
            target_sum += panel_sum
            for m in range(own):
                b[m] += panel_b[m]
                if biased:
                    c[m] += panel_c[m]
            cuda.syncthreads()
            for t in range(panel):
                start = group * stride + t * width
                for a in range(TILE):
                    x[a] = rows[start + i + sides * a]
                    y[a] = rows[start + j + sides * a]
                for d in range(TILE):
                    for a in range(TILE):
                        products[TILE * d + a] += x[a] * y[d]
        if slot < count:
            if tile < tiles:
                for e in range(ELEMENTS):
                    systems.grams[slot, e, tile] = products[e]
            if cuda.blockIdx.y == 0:
                for m in range(own):
                    column = lane + m * chunk
                    if column < width:
                        systems.rights[slot, 0, column] = b[m]
                        if biased:
                            systems.rights[slot, 1, column] = c[m]
                if lane == 0 and biased:
                    systems.targets[slot] = target_sum

    return fill
