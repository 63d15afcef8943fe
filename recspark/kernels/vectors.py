"""Rows of float32 in LLVM's vector types: 16 numbers are one register, or two or four of older processors.

An *intrinsic* is a function whose code is written here as LLVM instructions, and that numba puts into its
callers. Matrices are C-ordered float32, with a multiple of `TILE_COLUMNS` columns (pad with zero columns:
`padded`).
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_COLUMNS = 16
VECTOR = ir.VectorType(ir.FloatType(), TILE_COLUMNS)

#: all flags of fastmath that keep NaN and infinity meaningful
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


@njit(cache=True, nogil=True)
def padded(rank):
    """The smallest multiple of `TILE_COLUMNS` that holds `rank` columns."""
    return -(-rank // TILE_COLUMNS) * TILE_COLUMNS


def matrix_of(context, builder, kind, value):
    """Pointer to the first element, and number of columns, of a matrix argument of an intrinsic."""
    array = context.make_array(kind)(context, builder, value)
    return array.data, cgutils.unpack_tuple(builder, array.shape)[1]


def splat(builder, scalar):
    """A vector of one number."""
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), None)
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), lanes)


def load(builder, pointer):
    """The vector at `pointer`, a place of any alignment."""
    value = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    value.align = 4
    return value


def store(builder, value, pointer):
    """Write the vector `value` to `pointer`."""
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def multiply_add(builder, a, b, c):
    """``a * b + c``."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


def _for_blocks(builder, width, emit):
    """Emit code for the offset of each `TILE_COLUMNS` columns of a row.

    First four of them per turn of the loop, as a turn costs as much as they do, then one.
    """
    whole = builder.and_(width, ir.Constant(width.type, -4 * TILE_COLUMNS))
    for start, stop, blocks in ((ir.Constant(width.type, 0), whole, 4), (whole, width, 1)):
        step = ir.Constant(width.type, blocks * TILE_COLUMNS)
        with cgutils.for_range_slice(builder, start, stop, step, width.type) as (offset, _):
            for block in range(blocks):
                emit(builder.add(offset, ir.Constant(width.type, block * TILE_COLUMNS)))


def _rows(builder, *places):
    """Pointers to the first elements of rows, given as (pointer to a matrix, row, columns)."""
    return [builder.gep(matrix, [builder.mul(row, width)]) for matrix, row, width in places]


def splat_lane(builder, vector, lane):
    """A vector of one number, that in `lane` of `vector`."""
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), [lane] * TILE_COLUMNS)
    return builder.shuffle_vector(vector, ir.Constant(VECTOR, ir.Undefined), lanes)


def shuffled(builder, left, right, lanes):
    """The lanes of `left` (0 to 15) and `right` (16 to 31) with these numbers."""
    return builder.shuffle_vector(
        left, right, ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), list(lanes))
    )


def multiply_subtract(builder, scale, row, target):
    """``target - scale * row``."""
    return builder.fsub(target, builder.fmul(scale, row, flags=["contract"]), flags=["contract"])


def with_lane(builder, lane, value, others):
    """`others` with one lane of `value`."""
    lanes = [TILE_COLUMNS + each if each == lane else each for each in range(TILE_COLUMNS)]
    return shuffled(builder, others, value, lanes)


def lanes_below(builder, number):
    """A mask of the lanes below `number`."""
    lanes = ir.VectorType(ir.IntType(64), TILE_COLUMNS)
    one = builder.insert_element(ir.Constant(lanes, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), None)
    all_ = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), zeros)
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(TILE_COLUMNS))), all_)


def _row_update(accumulate: bool):
    """Make ``update(alpha, x, i, y, j)``: ``y[j] += alpha * x[i]``, for rows of x's length.

    Without `accumulate` it is ``y[j] = alpha * x[i]``.
    """

    @intrinsic
    def update(typing_context, alpha, x, i, y, j):
        signature = types.void(types.float32, x, types.intp, y, types.intp)

        def generate(context, builder, signature, arguments):
            alpha, x, i, y, j = arguments
            x, width = matrix_of(context, builder, signature.args[1], x)
            y, _ = matrix_of(context, builder, signature.args[3], y)
            [source, target], scale = _rows(builder, (x, i, width), (y, j, width)), splat(builder, alpha)

            def block(offset):
                value, place = load(builder, builder.gep(source, [offset])), builder.gep(target, [offset])
                store(
                    builder,
                    multiply_add(builder, scale, value, load(builder, place))
                    if accumulate
                    else builder.fmul(scale, value),
                    place,
                )

            _for_blocks(builder, width, block)
            return context.get_dummy_value()

        return signature, generate

    return update


scale_row = _row_update(accumulate=False)
add_row = _row_update(accumulate=True)


@intrinsic
def row_products(typing_context, x, i, y, j):
    """The products ``(<x_i, x_i>, <x_i, y_j>, <y_j, y_j>)`` of two rows, float32.

    Parameters
    ----------
    typing_context
        numba's; callers leave it out.
    x, i
        float32 (rows, padded), and the number of a row.
    y, j
        float32 (rows, padded), and the number of a row.
    """
    signature = types.UniTuple(types.float32, 3)(x, types.intp, y, types.intp)

    def generate(context, builder, signature, arguments):
        x, i, y, j = arguments
        x, width = matrix_of(context, builder, signature.args[0], x)
        y, _ = matrix_of(context, builder, signature.args[2], y)
        left, right = _rows(builder, (x, i, width), (y, j, width))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(3)]

        def block(offset):
            a, b = (load(builder, builder.gep(row, [offset])) for row in (left, right))
            for total, (one, two) in zip(sums, ((a, a), (a, b), (b, b)), strict=True):
                builder.store(multiply_add(builder, one, two, builder.load(total)), total)

        _for_blocks(builder, width, block)
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), VECTOR])
        add = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.vector.reduce.fadd.v{TILE_COLUMNS}f32"
        )
        zero = ir.Constant(ir.FloatType(), 0.0)
        totals = [builder.call(add, [zero, builder.load(total)], fastmath=("reassoc",)) for total in sums]
        return context.make_tuple(builder, signature.return_type, totals)

    return signature, generate


@intrinsic
def mix_rows(typing_context, x, i, y, j, xx, xy, yx, yy):
    """At once ``x_i = xx x_i + xy y_j`` and ``y_j = yx x_i + yy y_j``, as in a gradient step on a pair.

    Parameters
    ----------
    typing_context
        numba's; callers leave it out.
    x, i
        float32 (rows, padded), and the number of a row, which is changed in place.
    y, j
        float32 (rows, padded), and the number of a row, which is changed in place.
    xx, xy, yx, yy
        float32: the weights of the rows.
    """
    signature = types.void(x, types.intp, y, types.intp, *[types.float32] * 4)

    def generate(context, builder, signature, arguments):
        x, i, y, j, *weights = arguments
        x, width = matrix_of(context, builder, signature.args[0], x)
        y, _ = matrix_of(context, builder, signature.args[2], y)
        xx, xy, yx, yy = (splat(builder, weight) for weight in weights)
        rows = _rows(builder, (x, i, width), (y, j, width))

        def block(offset):
            left, right = (builder.gep(row, [offset]) for row in rows)
            a, b = load(builder, left), load(builder, right)
            store(builder, multiply_add(builder, xx, a, builder.fmul(xy, b)), left)
            store(builder, multiply_add(builder, yy, b, builder.fmul(yx, a)), right)

        _for_blocks(builder, width, block)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_row(typing_context, matrix, row):
    """Ask the processor to bring ``matrix[row]`` (float32, padded) closer; changes nothing else."""
    signature = types.void(matrix, types.intp)

    def generate(context, builder, signature, arguments):
        matrix, width = matrix_of(context, builder, signature.args[0], arguments[0])
        [row] = _rows(builder, (matrix, arguments[1], width))
        word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer, word, word, word]), "llvm.prefetch.p0"
        )

        # a cache line of 64 bytes holds 16 floats: a block
        def block(offset):
            address = builder.bitcast(builder.gep(row, [offset]), pointer)
            builder.call(
                prefetch, [address, ir.Constant(word, 0), ir.Constant(word, 3), ir.Constant(word, 1)]
            )

        _for_blocks(builder, width, block)
        return context.get_dummy_value()

    return signature, generate
