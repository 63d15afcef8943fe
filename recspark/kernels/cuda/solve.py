"""The kernel that solves normal equations: one block of threads per row.

The matrix is factored by columns of tiles (right-looking), and right sides are two more rows of it, so the
forward substitution costs nothing extra. A column of tiles takes three steps:

    1. every thread factors the tile on the diagonal, in its registers, and writes the same numbers
    2. the rows below it are divided by that tile, one row per thread
    3. the tiles to the right of it are updated, one tile per thread
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, float32, float64, uint64

from recspark.kernels.cuda.layout import ELEMENTS, TILE, Shape


class Rows(NamedTuple):
    """The rows of a block on the card.

    Parameters
    ----------
    order, slots
        `Order.rows` and `Order.slots`.
    weight, scale
        float64 (n,): the sum of the weights of each row, and the factor of its penalties.
    """

    order: np.ndarray
    slots: np.ndarray
    weight: np.ndarray
    scale: np.ndarray


class Solved(NamedTuple):
    """The result of a step, on the card.

    Parameters
    ----------
    factors, bias
        float32 (n, width) and (n,).
    checks
        float64 (n, 2): the penalty of each row, and 1 where rounding may have spoilt it: where its penalty is
        negligible, or its matrix is not positive definite.
    """

    factors: np.ndarray
    bias: np.ndarray
    checks: np.ndarray


@cache
def solve_kernel(shape: Shape, shared: bool, biased: bool, negligible: float):
    """The kernel ``solve[rows, threads](first, rows, systems, prior, pairs, penalty, solved)``.

    It solves the rows from place `first` on, whose slots are `systems`. With `shared` their matrices lie in
    shared memory. `prior`, float32 (TILE * TILE, tiles), is added to every matrix. `penalty` is (reg,
    bias_reg). A ridge up to `negligible` times the largest number on a row's diagonal is lost in rounding.
    """
    rank, width, sides, tiles = shape[:4]
    threads, padded = shape.solvers, shape.tiles | 1
    step = width + sides
    floats, n_right = TILE * step, 2 if biased else 1

    @cuda.jit(cache=True)
    def solve(first, rows, systems, prior, pairs, penalty, solved):
        panel = cuda.shared.array(floats, float32)
        right = cuda.shared.array((2, width), float32)
        answer = cuda.shared.array((2, width), float32)
        corner = cuda.shared.array(ELEMENTS, float32)
        largest = cuda.shared.array(threads, float32)
        dots = cuda.shared.array((2, threads), float64)
        low = cuda.local.array(ELEMENTS, float32)
        z = cuda.local.array(TILE, float32)
        tid = cuda.threadIdx.x
        row = rows.order[first + cuda.blockIdx.x]
        begin = rows.slots[first + cuda.blockIdx.x] - rows.slots[first]
        end = rows.slots[first + cuda.blockIdx.x + 1] - rows.slots[first]
        if begin == end:
            for u in range(tid, width, threads):
                solved.factors[row, u] = 0
            if tid == 0:
                solved.bias[row] = 0
                solved.checks[row, 0] = 0
                solved.checks[row, 1] = 0
            return
        if shared:
            a = cuda.shared.array((ELEMENTS, padded), float32)
        else:
            a = systems.grams[begin]
        # a whole tile at a time: its 64 numbers are asked for together. Places are unsigned here and below,
        # because numba would look after negative ones
        for tile in range(tid, tiles, threads):
            at = uint64(tile)
            for e in range(ELEMENTS):
                low[e] = systems.grams[uint64(begin), uint64(e), at]
            for slot in range(begin + 1, end):
                for e in range(ELEMENTS):
                    low[e] += systems.grams[uint64(slot), uint64(e), at]
            for e in range(ELEMENTS):
                a[uint64(e), at] = low[e] + prior[uint64(e), at]
        for p in range(tid, width, threads):
            b, c = float64(0), float64(0)
            for slot in range(begin, end):
                b += systems.rights[slot, 0, p // TILE + sides * (p % TILE)]
                if biased:
                    c += systems.rights[slot, 1, p // TILE + sides * (p % TILE)]
            right[0, p] = b
            right[1, p] = c
        cuda.syncthreads()
        scale, most = rows.scale[row], float32(0)
        for p in range(tid, width, threads):
            i, e = p // TILE, (TILE + 1) * (p % TILE)
            if i + sides * (p % TILE) < rank:
                a[e, i * (i + 3) // 2] += float32(scale * penalty[0])
                most = max(most, a[e, i * (i + 3) // 2])
            else:
                a[e, i * (i + 3) // 2] = 1
        largest[tid] = most
        regular = True
        for p in range(sides):
            cuda.syncthreads()
            diagonal = p * (p + 3) // 2
            for e in range(ELEMENTS):
                low[e] = a[e, diagonal]
            for k in range(TILE):
                # the pivot is always the first element: what is left of the tile moves to its corner, so that
                # no place in `low` depends on k, and it stays in registers
                pivot = low[0]
                if not pivot > 0:
                    regular, pivot = False, float32(1)
                inverse = float32(1) / math.sqrt(pivot)
                corner[TILE * k] = inverse
                for i in range(1, TILE):
                    z[i] = inverse * low[i]
                    corner[TILE * k + i] = z[i]
                for j in range(TILE - 1):
                    for i in range(TILE - 1):
                        if i >= j:
                            low[TILE * j + i] = low[TILE * j + TILE + i + 1] - z[i + 1] * z[j + 1]
                    low[TILE * j + TILE - 1] = 0
            # rows below the tile on the diagonal, then the right sides
            below = TILE * (sides - 1 - p)
            for r in range(tid, below + n_right, threads):
                i = p + 1 + r // TILE
                at, tile = uint64((TILE + 1) * i + r % TILE), uint64(i * (i + 1) // 2 + p)
                inside = uint64(r % TILE)
                if r < below:
                    for k in range(TILE):
                        z[k] = a[uint64(TILE * k) + inside, tile]
                else:
                    for k in range(TILE):
                        z[k] = right[r - below, TILE * p + k]
                for k in range(TILE):
                    value = corner[TILE * k] * z[0]
                    for d in range(1, TILE):
                        z[d - 1] = z[d] - corner[TILE * k + d] * value
                    z[TILE - 1] = 0
                    if r < below:
                        a[uint64(TILE * k) + inside, tile] = value
                        panel[uint64(step * k) + at] = value
                    else:
                        right[r - below, TILE * p + k] = value
            cuda.syncthreads()
            for k in range(tid, TILE, threads):
                for d in range(TILE - k):
                    a[(TILE + 1) * k + d, diagonal] = corner[TILE * k + d]
            for tile in range((p + 1) * (p + 2) // 2 + tid, tiles, threads):
                i, j = pairs[tile, 0], pairs[tile, 1]
                if j > p:
                    _update(a, tile, panel, (TILE + 1) * i, (TILE + 1) * j)
            for which in range(n_right):
                for position in range(TILE * (p + 1) + tid, width, threads):
                    total, at = right[which, position], uint64(position + position // TILE)
                    for k in range(TILE):
                        total -= right[which, uint64(TILE * p + k)] * panel[uint64(step * k) + at]
                    right[which, position] = total
        for p in range(sides - 1, -1, -1):
            cuda.syncthreads()
            diagonal = p * (p + 3) // 2
            for which in range(n_right):
                # z holds the unknowns that follow number k
                for d in range(TILE):
                    z[d] = 0
                for n in range(TILE):
                    k = TILE - 1 - n
                    value = right[which, TILE * p + k]
                    for d in range(1, TILE):
                        if k + d < TILE:
                            value -= a[(TILE + 1) * k + d, diagonal] * z[d]
                    value *= a[(TILE + 1) * k, diagonal]
                    for d in range(TILE - 1, 1, -1):
                        z[d] = z[d - 1]
                    z[1] = value
                    answer[which, TILE * p + k] = value
                for position in range(tid, TILE * p, threads):
                    at, tile = uint64(TILE * (position % TILE)), uint64(p * (p + 1) // 2 + position // TILE)
                    total = right[which, position]
                    for k in range(TILE):
                        total -= a[at + uint64(k), tile] * answer[which, uint64(TILE * p + k)]
                    right[which, position] = total
        cuda.syncthreads()
        cp, cq = float64(0), float64(0)
        if biased:
            for p in range(tid, width, threads):
                c = float64(0)
                for slot in range(begin, end):
                    c += systems.rights[slot, 1, p // TILE + sides * (p % TILE)]
                cp += c * answer[0, p]
                cq += c * answer[1, p]
        dots[0, tid] = cp
        dots[1, tid] = cq
        cuda.syncthreads()
        cp, cq, most = float64(0), float64(0), float32(0)
        for t in range(threads):
            cp += dots[0, t]
            cq += dots[1, t]
            most = max(most, largest[t])
        bias, border = float32(0), rows.weight[row] + scale * penalty[1]
        if biased:
            target_sum = float64(0)
            for slot in range(begin, end):
                target_sum += systems.targets[slot]
            # if the factors alone already explain a constant, the bias is not determined: leave it at 0
            if border - cq > 1e-6 * border:
                bias = float32((target_sum - cp) / (border - cq))
        cuda.syncthreads()
        squares = float64(0)
        for p in range(tid, width, threads):
            value = answer[0, p]
            if biased:
                value -= bias * answer[1, p]
            u = p // TILE + sides * (p % TILE)
            value = value if u < rank else float32(0)
            solved.factors[row, u] = value
            squares += float64(value) * value
        dots[0, tid] = squares
        cuda.syncthreads()
        if tid == 0:
            squares = float64(0)
            for t in range(threads):
                squares += dots[0, t]
            solved.bias[row] = bias
            solved.checks[row, 0] = scale * (penalty[0] * squares + penalty[1] * bias * bias)
            lost = scale * penalty[0] <= negligible * most
            if biased:
                lost = lost or scale * penalty[1] <= negligible * border
            solved.checks[row, 1] = 1 if lost or not regular else 0

    return solve


@cuda.jit(device=True)
def _update(a, tile, panel, rows, columns):
    """Subtract from a tile the product of the panel's rows and columns that start at these places.

    Places are unsigned: numba would look after negative ones.
    """
    step, place = uint64(panel.size // TILE), uint64(tile)
    x = cuda.local.array(TILE, float32)
    y = cuda.local.array(TILE, float32)
    products = cuda.local.array(ELEMENTS, float32)
    for e in range(ELEMENTS):
        products[e] = a[e, place]
    at_x, at_y = uint64(rows), uint64(columns)
    for _ in range(TILE):
        for r in range(TILE):
            x[r] = panel[at_x + uint64(r)]
            y[r] = panel[at_y + uint64(r)]
        for d in range(TILE):
            for r in range(TILE):
                products[TILE * d + r] -= x[r] * y[d]
        at_x += step
        at_y += step
    for e in range(ELEMENTS):
        a[e, place] = products[e]
