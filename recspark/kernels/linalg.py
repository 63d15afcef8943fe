"""Dense float32 linear algebra for many small symmetric systems, fast enough for one call per row.

For every small matrix BLAS and LAPACK pay a call and a packing, and they compute both triangles. Here one
register tile, written in LLVM's vector types, does all the work: 8 rows by 16 columns of a Gram matrix stay
in registers while the rows of a panel stream by. Matrices are C-ordered float32 whose order is a multiple of
`TILE_COLUMNS` (pad with zero columns: `padded`), and only tiles on or above the diagonal are read and
written.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_ROWS = 8
TILE_COLUMNS = 16

#: all flags of fastmath that keep NaN and infinity meaningful
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


VECTOR = ir.VectorType(ir.FloatType(), TILE_COLUMNS)


def _matrix(context, builder, kind, value):
    """Pointer to the first element, and number of columns, of a matrix argument of an intrinsic."""
    array = context.make_array(kind)(context, builder, value)
    return array.data, cgutils.unpack_tuple(builder, array.shape)[1]


def _splat(builder, scalar):
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), None)
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), lanes)


def _load(builder, pointer):
    value = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    value.align = 4
    return value


def _store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def _multiply_add(builder, a, b, c):
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


def _tile_update(rows: int):
    """Make ``update(panel, m, i, j, gram, alpha)``, which updates a tile of a Gram matrix.

    ``gram[i:i+rows, j:j+16] += alpha * panel[:m, i:i+rows].T @ panel[:m, j:j+16]``.
    """

    @intrinsic
    def update(typing_context, panel, m, i, j, gram, alpha):
        signature = types.void(panel, types.intp, types.intp, types.intp, gram, types.float32)

        def generate(context, builder, signature, arguments):
            panel, m, i, j, gram, alpha = arguments
            panel, width = _matrix(context, builder, signature.args[0], panel)
            gram, _ = _matrix(context, builder, signature.args[4], gram)
            sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(rows)]
            with cgutils.for_range(builder, m) as loop:
                row = builder.gep(panel, [builder.mul(loop.index, width)])
                right, left = _load(builder, builder.gep(row, [j])), builder.gep(row, [i])
                for r, total in enumerate(sums):
                    scalar = builder.load(builder.gep(left, [ir.Constant(ir.IntType(64), r)]))
                    builder.store(
                        _multiply_add(builder, _splat(builder, scalar), right, builder.load(total)), total
                    )
            scale = _splat(builder, alpha)
            for r, total in enumerate(sums):
                row = builder.mul(builder.add(i, ir.Constant(i.type, r)), width)
                target = builder.gep(gram, [builder.add(row, j)])
                _store(
                    builder,
                    _multiply_add(builder, scale, builder.load(total), _load(builder, target)),
                    target,
                )
            return context.get_dummy_value()

        return signature, generate

    return update


def _row_update(accumulate: bool):
    """Make ``update(alpha, x, i, y, j)``: ``y[j] += alpha * x[i]``, for rows of x's length.

    Without `accumulate` it is ``y[j] = alpha * x[i]``.
    """

    @intrinsic
    def update(typing_context, alpha, x, i, y, j):
        signature = types.void(types.float32, x, types.intp, y, types.intp)

        def generate(context, builder, signature, arguments):
            alpha, x, i, y, j = arguments
            x, width = _matrix(context, builder, signature.args[1], x)
            y, _ = _matrix(context, builder, signature.args[3], y)
            [source, target], scale = _rows(builder, (x, i, width), (y, j, width)), _splat(builder, alpha)

            def block(offset):
                value, place = _load(builder, builder.gep(source, [offset])), builder.gep(target, [offset])
                _store(
                    builder,
                    _multiply_add(builder, scale, value, _load(builder, place))
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
        x, width = _matrix(context, builder, signature.args[0], x)
        y, _ = _matrix(context, builder, signature.args[2], y)
        left, right = _rows(builder, (x, i, width), (y, j, width))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(3)]

        def block(offset):
            a, b = (_load(builder, builder.gep(row, [offset])) for row in (left, right))
            for total, (one, two) in zip(sums, ((a, a), (a, b), (b, b)), strict=True):
                builder.store(_multiply_add(builder, one, two, builder.load(total)), total)

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
        x, width = _matrix(context, builder, signature.args[0], x)
        y, _ = _matrix(context, builder, signature.args[2], y)
        xx, xy, yx, yy = (_splat(builder, weight) for weight in weights)
        rows = _rows(builder, (x, i, width), (y, j, width))

        def block(offset):
            left, right = (builder.gep(row, [offset]) for row in rows)
            a, b = _load(builder, left), _load(builder, right)
            _store(builder, _multiply_add(builder, xx, a, builder.fmul(xy, b)), left)
            _store(builder, _multiply_add(builder, yy, b, builder.fmul(yx, a)), right)

        _for_blocks(builder, width, block)
        return context.get_dummy_value()

    return signature, generate


_update_tile = _tile_update(TILE_ROWS)
_update_row = _tile_update(1)


@intrinsic
def prefetch_row(typing_context, matrix, row):
    """Ask the processor to bring ``matrix[row]`` (float32, padded) closer; changes nothing else."""
    signature = types.void(matrix, types.intp)

    def generate(context, builder, signature, arguments):
        matrix, width = _matrix(context, builder, signature.args[0], arguments[0])
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


@njit(cache=True, nogil=True)
def padded(rank):
    """The smallest multiple of `TILE_COLUMNS` that holds `rank` columns."""
    return -(-rank // TILE_COLUMNS) * TILE_COLUMNS


@njit(cache=True, nogil=True)
def add_gram_inplace(panel, m, gram):
    """``gram += panel[:m].T @ panel[:m]`` on and above the diagonal.

    panel is (>= m, n), gram (n, n), both float32.
    """
    n = gram.shape[1]
    for i in range(0, n, TILE_ROWS):
        for j in range(i // TILE_COLUMNS * TILE_COLUMNS, n, TILE_COLUMNS):
            _update_tile(panel, m, i, j, gram, np.float32(1))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def cholesky_inplace(a, order):
    """Factor ``a[:order, :order] = U.T @ U`` in place; False if it is not positive definite.

    U is above the diagonal, its diagonal inverted. Blocked right-looking: 16 rows are finished one by one,
    then the rest of the matrix is updated by register tiles.
    """
    n = a.shape[1]
    for p in range(0, n, TILE_COLUMNS):
        block = a[p:]
        for j in range(p, min(p + TILE_COLUMNS, order)):
            diagonal = a[j, j]
            for c in range(p, n, TILE_COLUMNS):
                _update_row(block, j - p, j, c, a, np.float32(-1))
            # a pivot that has lost six digits to cancellation is rounding error, not information
            if not a[j, j] > np.float32(1e-6) * diagonal:
                return False
            scale = np.float32(1) / np.sqrt(a[j, j])
            for c in range(p, n):
                a[j, c] *= scale
            a[j, j] = scale
        for i in range(p + TILE_COLUMNS, n, TILE_ROWS):
            for c in range(i // TILE_COLUMNS * TILE_COLUMNS, n, TILE_COLUMNS):
                _update_tile(block, TILE_COLUMNS, i, c, a, np.float32(-1))
    return True


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def solve_lower_inplace(u, b):
    """Solve ``U.T x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    n = len(b)
    for i in range(n):
        b[i] *= u[i, i]
        for j in range(i + 1, n):
            b[j] -= u[i, j] * b[i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def solve_upper_inplace(u, b):
    """Solve ``U x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    n = len(b)
    for i in range(n - 1, -1, -1):
        total = np.float32(0)
        for j in range(i + 1, n):
            total += u[i, j] * b[j]
        b[i] = (b[i] - total) * u[i, i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def cholesky_solve_inplace(u, b):
    """Solve ``U.T @ U @ x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    solve_lower_inplace(u, b)
    solve_upper_inplace(u, b)
