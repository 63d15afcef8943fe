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
from numba import cuda, float32, float64, uint32, uint64

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
    stride, own, loads = shape.stride, -(-width // chunk), -(-panel // chunk)
    floats, places, jump = groups * stride, groups * panel, uint64(width)
    # so many rows are asked for before the first is used: about 16 numbers per thread
    ahead = next(rows for rows in (16, 8, 4, 2, 1) if rows <= panel and (rows * own <= 16 or rows == 1))
    held_floats = ahead * own

    @cuda.jit(cache=True, **LIMIT)
    def fill(first, count, slots, pairs, entries, source, mean, systems):
        rows = cuda.shared.array(floats, float32)
        place = cuda.shared.array(places, uint32)
        target = cuda.shared.array(places, float32)
        weight = cuda.shared.array(places, float32)
        products = cuda.local.array(ELEMENTS, float32)
        x = cuda.local.array(TILE, float32)
        y = cuda.local.array(TILE, float32)
        b = cuda.local.array(own, float64)
        c = cuda.local.array(own, float64)
        panel_b = cuda.local.array(own, float32)
        panel_c = cuda.local.array(own, float32)
        held = cuda.local.array(held_floats, float32)
        next_index = cuda.local.array(loads, uint32)
        next_value = cuda.local.array(loads, float32)
        next_weight = cuda.local.array(loads, float32)
        group, lane = cuda.threadIdx.x // chunk, cuda.threadIdx.x % chunk
        tile = cuda.blockIdx.y * chunk + lane
        slot = cuda.blockIdx.x * groups + group
        i, j, begin, end = uint64(0), uint64(0), 0, 0
        if tile < tiles:
            i, j = uint64(pairs[tile, 0]), uint64(pairs[tile, 1])
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
        for n in range(loads):
            next_index[n], next_value[n], next_weight[n] = 0, 0, 0
            entry = begin + lane + n * chunk
            if lane + n * chunk < panel and entry < end:
                next_index[n], next_value[n] = entries.indices[entry], entries.values[entry]
                next_weight[n] = entries.weights[entry] if weighted else float32(1)
        for offset in range(0, longest, panel):
            # 1. the entries of the panel; where a slot has ended their weight is 0
            for n in range(loads):
                if lane + n * chunk < panel:
                    t, k, w = group * panel + lane + n * chunk, next_index[n], next_weight[n]
                    place[t] = k
                    target[t] = w * (next_value[n] - mean - source.bias[k])
                    weight[t] = w
            cuda.syncthreads()
            # 2. their source rows; a thread reads the same columns of each
            for m in range(own):
                panel_b[m] = 0
                panel_c[m] = 0
            panel_sum = float32(0)
            for start in range(0, panel, ahead):
                for s in range(ahead):
                    k = place[uint64(group * panel + start + s)]
                    for m in range(own):
                        held[s * own + m] = source.factors[k, uint64(min(lane + m * chunk, width - 1))]
                for s in range(ahead):
                    t = uint64(group * panel + start + s)
                    goal, w = target[t], weight[t]
                    root = math.sqrt(w) if weighted else w
                    panel_sum += goal
                    for m in range(own):
                        value = held[s * own + m]
                        panel_b[m] += goal * value
                        if biased:
                            panel_c[m] += w * value
                        if lane + m * chunk < width:
                            rows[uint64(group * stride + (start + s) * width + lane + m * chunk)] = (
                                root * value
                            )
            target_sum += panel_sum
            for m in range(own):
                b[m] += panel_b[m]
                if biased:
                    c[m] += panel_c[m]
            cuda.syncthreads()
            # the next entries are asked for now, and used after the products
            for n in range(loads):
                next_index[n], next_value[n], next_weight[n] = 0, 0, 0
                entry = begin + offset + panel + lane + n * chunk
                if lane + n * chunk < panel and entry < end:
                    next_index[n], next_value[n] = entries.indices[entry], entries.values[entry]
                    next_weight[n] = entries.weights[entry] if weighted else float32(1)
            # 3. their products. Places are unsigned: numba would look after negative ones
            at_x, at_y = uint64(group * stride) + i, uint64(group * stride) + j
            for _ in range(panel):
                for a in range(TILE):
                    x[a] = rows[at_x + uint64(sides * a)]
                    y[a] = rows[at_y + uint64(sides * a)]
                for d in range(TILE):
                    for a in range(TILE):
                        products[TILE * d + a] += x[a] * y[d]
                at_x += jump
                at_y += jump
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
