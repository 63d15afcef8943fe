"""The scores of 16 users and 8 items at once, in vector registers: where a scan over all pairs spends its time.

A score is ``offset_i + sum_f x_uf y_if``, added up over f in order by fused multiply-adds. So it has the same bits however users
and items are cut into blocks and whoever is asked for with whom, which BLAS does not promise: equal rows stay tied.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recspark.kernels.linalg import TILE_COLUMNS, TILE_ROWS, VECTOR, _load, _matrix, _multiply_add, _splat, _store

#: users side by side in a vector, and items whose scores are in registers at once
LANES, ITEMS = TILE_COLUMNS, TILE_ROWS

_MASK = ir.IntType(32)


@intrinsic
def score_tile(typing_context, items, first, offsets, users, least, hidden, place, scores):
    """``scores[r, l] = offsets[first + r] + <items[first + r], users[:, l]>`` for ITEMS rows r and LANES lanes l.

    items (n, rank), offsets (n), users (rank, LANES), least (LANES), scores (ITEMS, LANES): float32, C order. Bit r of the result
    (int32) tells that a lane's score of item r is above that lane's `least`, which NaN never is, and that bit l of
    ``hidden[place + r]`` (uint16) is not set. Where no bit is set, `scores` is left as it was.
    """
    signature = types.int32(items, types.intp, offsets, users, least, hidden, types.intp, scores)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        items, rank = _matrix(context, builder, kinds[0], arguments[0])
        users, _ = _matrix(context, builder, kinds[3], arguments[3])
        scores, lanes = _matrix(context, builder, kinds[7], arguments[7])
        offsets, least, hidden = (context.make_array(kinds[a])(context, builder, arguments[a]).data for a in (2, 4, 5))
        rows = [builder.add(arguments[1], ir.Constant(rank.type, r)) for r in range(ITEMS)]
        sums = _products(builder, [builder.gep(items, [builder.mul(row, rank)]) for row in rows], users, rank)
        sums = [
            builder.fadd(total, _splat(builder, builder.load(builder.gep(offsets, [row])))) for total, row in zip(sums, rows, strict=True)
        ]
        above = _any_above(builder, sums, _load(builder, least), builder.gep(hidden, [arguments[6]]))
        with builder.if_then(builder.icmp_signed("!=", above, ir.Constant(_MASK, 0))):
            for r, total in enumerate(sums):
                _store(builder, total, builder.gep(scores, [builder.mul(ir.Constant(lanes.type, r), lanes)]))
        return above

    return signature, generate


def _products(builder, rows, users, rank):
    """Inner products of the item rows at the pointers `rows` with all lanes of `users`: a vector a row."""
    sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in rows]
    with cgutils.for_range(builder, rank) as loop:
        factor = _load(builder, builder.gep(users, [builder.mul(loop.index, ir.Constant(rank.type, LANES))]))
        for row, total in zip(rows, sums, strict=True):
            scalar = builder.load(builder.gep(row, [loop.index]))
            builder.store(_multiply_add(builder, _splat(builder, scalar), factor, builder.load(total)), total)
    return [builder.load(total) for total in sums]


def _any_above(builder, vectors, least, hidden):
    """Bit r: whether a lane of vector r is above `least`, and not among the lanes that the bits of ``hidden[r]`` name."""
    mask = ir.Constant(_MASK, 0)
    for r, vector in enumerate(vectors):
        lanes = builder.bitcast(builder.fcmp_ordered(">", vector, least), ir.IntType(LANES))
        lanes = builder.and_(lanes, builder.not_(builder.load(builder.gep(hidden, [ir.Constant(ir.IntType(64), r)]))))
        hit = builder.zext(builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0)), _MASK)
        mask = builder.or_(mask, builder.shl(hit, ir.Constant(_MASK, r)))
    return mask
