"""The scores of 16 users and 8 items at once, in vector registers, for scans over all pairs.

A score is ``offset_i + sum_f x_uf y_if``, added up over f in order by fused multiply-adds. So it has the same
bits for any blocks of users and items, and for any set of users that ask together, which BLAS does not
promise: equal rows stay tied.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recspark.kernels.linalg import (
    TILE_COLUMNS,
    VECTOR,
    load,
    matrix_of,
    multiply_add,
    splat,
    store,
)

#: number of users side by side in a vector, and of items whose scores are in registers at once
LANES, ITEMS = TILE_COLUMNS, 8


class Tile(NamedTuple):
    """The scores of a tile, and which of them are above the users' bars.

    Parameters
    ----------
    scores
        float32 (ITEMS, LANES).
    above
        uint16 (ITEMS,): bit l of ``above[r]`` tells that the score is above ``least[l]``, which NaN never is,
        and not hidden.
    """

    scores: np.ndarray
    above: np.ndarray


@intrinsic
def score_tile(typing_context, items, first, offsets, users, least, hidden, place, tile):
    """The scores ``offsets[first + r] + <items[first + r], users[:, l]>`` of ITEMS rows r and LANES lanes l.

    Parameters
    ----------
    typing_context
        numba's; callers leave it out.
    items, offsets
        float32 (n, rank) and (n,), C order.
    first
        The first item of the tile.
    users
        float32 (rank, LANES), C order: the factors of the users, one lane each.
    least
        float32 (LANES,): the score that each user's new items must exceed.
    hidden, place
        uint16: bit l of ``hidden[place + r]`` excludes row r from lane l.
    tile
        The `Tile` that is written.

    Returns
    -------
    bool
        Whether any bit of ``tile.above`` is set; if not, the tile is left unchanged.
    """
    signature = types.boolean(items, types.intp, offsets, users, least, hidden, types.intp, tile)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        items, rank = matrix_of(context, builder, kinds[0], arguments[0])
        users, _ = matrix_of(context, builder, kinds[3], arguments[3])
        offsets, least, hidden = (
            context.make_array(kinds[a])(context, builder, arguments[a]).data for a in (2, 4, 5)
        )
        rows = [builder.add(arguments[1], ir.Constant(rank.type, r)) for r in range(ITEMS)]
        sums = _products(builder, [builder.gep(items, [builder.mul(row, rank)]) for row in rows], users, rank)
        sums = [
            builder.fadd(total, splat(builder, builder.load(builder.gep(offsets, [row]))))
            for total, row in zip(sums, rows, strict=True)
        ]
        bits = _bits_above(builder, sums, load(builder, least), builder.gep(hidden, [arguments[6]]))
        found = builder.icmp_unsigned("!=", reduce(builder.or_, bits), ir.Constant(bits[0].type, 0))
        with builder.if_then(found):
            scores, above = cgutils.unpack_tuple(builder, arguments[7])
            scores, lanes = matrix_of(context, builder, kinds[7][0], scores)
            above = context.make_array(kinds[7][1])(context, builder, above).data
            for r, (total, lane_bits) in enumerate(zip(sums, bits, strict=True)):
                store(builder, total, builder.gep(scores, [builder.mul(ir.Constant(lanes.type, r), lanes)]))
                builder.store(lane_bits, builder.gep(above, [ir.Constant(lanes.type, r)]))
        return found

    return signature, generate


def _products(builder, rows, users, rank):
    """Inner products of the item rows at pointers `rows` with all lanes of `users`: one vector per row."""
    sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in rows]
    with cgutils.for_range(builder, rank) as loop:
        factor = load(builder, builder.gep(users, [builder.mul(loop.index, ir.Constant(rank.type, LANES))]))
        for row, total in zip(rows, sums, strict=True):
            scalar = builder.load(builder.gep(row, [loop.index]))
            builder.store(multiply_add(builder, splat(builder, scalar), factor, builder.load(total)), total)
    return [builder.load(total) for total in sums]


def _bits_above(builder, vectors, least, hidden):
    """For each vector r the lanes that are above `least`, without the bits of ``hidden[r]``."""
    bits = []
    for r, vector in enumerate(vectors):
        lanes = builder.bitcast(builder.fcmp_ordered(">", vector, least), ir.IntType(LANES))
        bits.append(
            builder.and_(
                lanes, builder.not_(builder.load(builder.gep(hidden, [ir.Constant(ir.IntType(64), r)])))
            )
        )
    return bits
