"""Dense float32 linear algebra for many small symmetric systems, fast enough for one call per row.

For every small matrix BLAS and LAPACK pay a call and a packing, and they compute both triangles. Here a
matrix is cut into tiles that lie in the processor's registers while they are worked on: of a Gram matrix 8
rows by 32 columns (4 by 16 without AVX-512), by which the rows of a panel stream; of a factor 16 by 16.
Matrices are C-ordered float32 whose order is a multiple of `TILE_COLUMNS` (pad with zero columns: `padded`),
and only tiles on or above the diagonal are read and written.

An *intrinsic* is a function whose code is written here as LLVM instructions, and that numba puts into its
callers. A vector is 16 numbers: one register, or two or four of older processors.

    helpers     what instructions are made with
    rows        of matrices: scaled, added, multiplied, fetched
    tiles       of matrices, and pieces of 16 numbers of a solution
    matrices    Gram matrix, Cholesky factor, solutions
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: whether a vector is one register, of which there are 32; else it takes two of 16, or more
WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
#: a tile fills half of the registers: a sum waits for the one before, and the processor has others meanwhile
TILE_ROWS = 8 if WIDE else 4
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
    def _update(typing_context, alpha, x, i, y, j):
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

    return _update


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


def _tile_update(vectors: int):
    """Make ``update(panel, m, i, j, gram, alpha)``, which updates a tile of a Gram matrix.

    ``gram[i:i+TILE_ROWS, j:j+w] += alpha * panel[:m, i:i+TILE_ROWS].T @ panel[:m, j:j+w]``, where w is
    16 times `vectors`.
    """

    @intrinsic
    def _update(typing_context, panel, m, i, j, gram, alpha):
        signature = types.void(panel, types.intp, types.intp, types.intp, gram, types.float32)

        def generate(context, builder, signature, arguments):
            panel, m, i, j, gram, alpha = arguments
            panel, width = matrix_of(context, builder, signature.args[0], panel)
            gram, _ = matrix_of(context, builder, signature.args[4], gram)
            columns = [
                builder.add(j, ir.Constant(j.type, number * TILE_COLUMNS)) for number in range(vectors)
            ]
            sums = [
                [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in columns]
                for _ in range(TILE_ROWS)
            ]
            with cgutils.for_range(builder, m) as loop:
                row = builder.gep(panel, [builder.mul(loop.index, width)])
                right = [load(builder, builder.gep(row, [column])) for column in columns]
                left = builder.gep(row, [i])
                for r, totals in enumerate(sums):
                    one = builder.load(builder.gep(left, [ir.Constant(ir.IntType(64), r)]))
                    scalar = splat(builder, one)
                    for value, total in zip(right, totals, strict=True):
                        builder.store(multiply_add(builder, scalar, value, builder.load(total)), total)
            scale = splat(builder, alpha)
            for r, totals in enumerate(sums):
                row = builder.mul(builder.add(i, ir.Constant(i.type, r)), width)
                for column, total in zip(columns, totals, strict=True):
                    target = builder.gep(gram, [builder.add(row, column)])
                    value = multiply_add(builder, scale, builder.load(total), load(builder, target))
                    store(builder, value, target)
            return context.get_dummy_value()

        return signature, generate

    return _update


_update_tile, _update_wide_tile = _tile_update(1), _tile_update(2)


def _places(builder, matrix, width, row, column):
    """Pointers to the elements of a column of a tile: rows `row` to `row` + 15."""
    first = builder.gep(matrix, [builder.add(builder.mul(row, width), column)])
    steps = [builder.mul(width, ir.Constant(width.type, step)) for step in range(TILE_COLUMNS)]
    return [builder.gep(first, [step]) for step in steps]


def _transposed(builder, rows):
    """The columns of a tile of 16 rows, by four rounds of exchanges of halves."""
    rows, lanes = list(rows), range(TILE_COLUMNS)
    for half in (8, 4, 2, 1):
        for r in (row for row in lanes if not row & half):
            a, b = rows[r], rows[r + half]
            rows[r] = shuffled(
                builder, a, b, [TILE_COLUMNS + lane - half if lane & half else lane for lane in lanes]
            )
            rows[r + half] = shuffled(
                builder, a, b, [TILE_COLUMNS + lane if lane & half else lane + half for lane in lanes]
            )
    return rows


def _row_sums(builder, rows):
    """A vector whose lane r is the sum of the lanes of ``rows[r]``."""
    rows = list(rows)
    for half in (8, 4, 2, 1):
        groups = [range(first, first + half) for first in range(0, TILE_COLUMNS, 2 * half)]
        low = [lane + start for group in groups for start in (0, TILE_COLUMNS) for lane in group]
        rows = [
            builder.fadd(
                shuffled(builder, a, b, low),
                shuffled(builder, a, b, [lane + half for lane in low]),
                flags=["reassoc"],
            )
            for a, b in zip(rows[:half], rows[half : 2 * half], strict=True)
        ]
    return rows[0]


class _Piece:
    """The 16 numbers of a vector from `place` on; beyond its end they are 0, and are not stored."""

    def __init__(self, context, builder, kind, value, place):
        array = context.make_array(kind)(context, builder, value)
        [length] = cgutils.unpack_tuple(builder, array.shape)
        self.builder, self.length = builder, length
        self.mask = lanes_below(builder, builder.sub(length, place))
        self.pointer = builder.bitcast(builder.gep(array.data, [place]), VECTOR.as_pointer())

    def _call(self, what, result, kinds, *arguments):
        kind = ir.FunctionType(result, kinds)
        name = f"llvm.masked.{what}.v{TILE_COLUMNS}f32.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def load(self):
        kinds = [self.pointer.type, ir.IntType(32), self.mask.type, VECTOR]
        align, nothing = ir.Constant(ir.IntType(32), 4), ir.Constant(VECTOR, None)
        return self._call("load", VECTOR, kinds, self.pointer, align, self.mask, nothing)

    def store(self, value):
        kinds = [VECTOR, self.pointer.type, ir.IntType(32), self.mask.type]
        align = ir.Constant(ir.IntType(32), 4)
        self._call("store", ir.VoidType(), kinds, value, self.pointer, align, self.mask)


@intrinsic
def _factor_tile(typing_context, a, p, order):
    """Factor the tile of `a` at (p, p) as ``U.T @ U``; false if it is not positive definite.

    The tile then has U above its diagonal, U.T below, and 1 / U_kk on it, which is 0 for rows of padding.
    """
    signature = types.boolean(a, types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        a, p, order = arguments
        a, width = matrix_of(context, builder, signature.args[0], a)
        places, real = _places(builder, a, width, p, p), ir.FloatType()
        rows = [load(builder, place) for place in places]
        lane = [ir.Constant(ir.IntType(32), k) for k in range(TILE_COLUMNS)]
        diagonal = [builder.extract_element(row, lane[k]) for k, row in enumerate(rows)]
        fine, pivots = ir.Constant(ir.IntType(1), 1), ir.Constant(VECTOR, None)
        for k in range(TILE_COLUMNS):
            pivot = builder.extract_element(rows[k], lane[k])
            # a pivot that has lost six digits to cancellation is rounding error, not information
            least = builder.fmul(ir.Constant(real, 1e-6), diagonal[k])
            known = builder.icmp_signed("<", builder.add(p, ir.Constant(p.type, k)), order)
            good = builder.or_(builder.fcmp_ordered(">", pivot, least), builder.not_(known))
            fine, pivots = builder.and_(fine, good), with_lane(builder, k, rows[k], pivots)
            # each row waits for the one before: the roots are taken at the end, of all 16 at once
            inverse = builder.fdiv(ir.Constant(real, 1.0), pivot)
            inverse = splat(builder, builder.select(known, inverse, ir.Constant(real, 0.0)))
            scaled = builder.fmul(rows[k], inverse)
            for r in range(k + 1, TILE_COLUMNS):
                rows[r] = multiply_subtract(builder, splat_lane(builder, rows[k], r), scaled, rows[r])
        kind = ir.FunctionType(VECTOR, [VECTOR])
        sqrt = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{TILE_COLUMNS}f32")
        ones = splat(builder, ir.Constant(real, 1.0))
        roots = builder.fdiv(ones, builder.call(sqrt, [pivots]))
        inverses = builder.select(
            lanes_below(builder, builder.sub(order, p)), roots, ir.Constant(VECTOR, None)
        )
        rows = [builder.fmul(row, splat_lane(builder, inverses, k)) for k, row in enumerate(rows)]
        for k, (row, column) in enumerate(zip(rows, _transposed(builder, rows), strict=True)):
            both = shuffled(
                builder,
                row,
                column,
                [lane if lane > k else TILE_COLUMNS + lane for lane in range(TILE_COLUMNS)],
            )
            store(builder, with_lane(builder, k, inverses, both), places[k])
        return fine

    return signature, generate


@intrinsic
def _solve_tile(typing_context, a, p, j):
    """Turn the tile of `a` at (p, j) into that of U, after `_factor_tile` at (p, p)."""
    signature = types.void(a, types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        a, p, j = arguments
        a, width = matrix_of(context, builder, signature.args[0], a)
        factor, places = _places(builder, a, width, p, p), _places(builder, a, width, p, j)
        rows = [load(builder, place) for place in places]
        for k in range(TILE_COLUMNS):

            def entry(r, k=k):
                place = builder.gep(factor[k], [ir.Constant(ir.IntType(64), r)])
                return splat(builder, builder.load(place))

            rows[k] = builder.fmul(rows[k], entry(k))
            for r in range(k + 1, TILE_COLUMNS):
                rows[r] = multiply_subtract(builder, entry(r), rows[k], rows[r])
        for row, place in zip(rows, places, strict=True):
            store(builder, row, place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _forward(typing_context, u, p, b):
    """Rows p to p + 15 of ``U.T x = b``, whose numbers before p are solved, and the parts of these before."""
    signature = types.void(u, types.intp, b)

    def generate(context, builder, signature, arguments):
        u, p, b = arguments
        u, width = matrix_of(context, builder, signature.args[0], u)
        piece = _Piece(context, builder, signature.args[2], b, p)
        places = _places(builder, u, width, p, p)
        rest, found = piece.load(), ir.Constant(VECTOR, None)
        for k, place in enumerate(places):
            row = load(builder, place)
            x = builder.fmul(splat_lane(builder, rest, k), splat_lane(builder, row, k))
            found, rest = with_lane(builder, k, x, found), multiply_subtract(builder, x, row, rest)
        piece.store(found)
        first, step = builder.add(p, ir.Constant(p.type, TILE_COLUMNS)), ir.Constant(p.type, TILE_COLUMNS)
        with cgutils.for_range_slice(builder, first, piece.length, step, p.type) as (j, _):
            later = _Piece(context, builder, signature.args[2], b, j)
            halves = [later.load(), ir.Constant(VECTOR, None)]
            for k, place in enumerate(_places(builder, u, width, p, j)):
                row = load(builder, place)
                halves[k % 2] = multiply_subtract(builder, splat_lane(builder, found, k), row, halves[k % 2])
            later.store(builder.fadd(*halves))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _backward(typing_context, u, p, b):
    """Rows p to p + 15 of ``U x = b``, whose numbers from p + 16 on are solved."""
    signature = types.void(u, types.intp, b)

    def generate(context, builder, signature, arguments):
        u, p, b = arguments
        u, width = matrix_of(context, builder, signature.args[0], u)
        piece = _Piece(context, builder, signature.args[2], b, p)
        first, step = builder.add(p, ir.Constant(p.type, TILE_COLUMNS)), ir.Constant(p.type, TILE_COLUMNS)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(TILE_COLUMNS)]
        with cgutils.for_range_slice(builder, first, piece.length, step, p.type) as (j, _):
            later = _Piece(context, builder, signature.args[2], b, j).load()
            for total, place in zip(sums, _places(builder, u, width, p, j), strict=True):
                row = load(builder, place)
                builder.store(multiply_add(builder, row, later, builder.load(total)), total)
        rest = builder.fsub(piece.load(), _row_sums(builder, [builder.load(total) for total in sums]))
        found = ir.Constant(VECTOR, None)
        for k, place in reversed(list(enumerate(_places(builder, u, width, p, p)))):
            row = load(builder, place)
            x = builder.fmul(splat_lane(builder, rest, k), splat_lane(builder, row, k))
            found, rest = with_lane(builder, k, x, found), multiply_subtract(builder, x, row, rest)
        piece.store(found)
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True)
def _update_from(first, panel, m, gram, alpha):
    """Add ``alpha * panel[:m].T @ panel[:m]`` to rows from `first` on, on and above the diagonal."""
    n = gram.shape[1]
    for i in range(first, n, TILE_ROWS):
        j = i // TILE_COLUMNS * TILE_COLUMNS
        while WIDE and j + 2 * TILE_COLUMNS <= n:
            _update_wide_tile(panel, m, i, j, gram, alpha)
            j += 2 * TILE_COLUMNS
        while j < n:
            _update_tile(panel, m, i, j, gram, alpha)
            j += TILE_COLUMNS


@njit(cache=True, nogil=True)
def add_gram_inplace(panel, m, gram):
    """``gram += panel[:m].T @ panel[:m]`` on and above the diagonal.

    panel is (>= m, n), gram (n, n), both float32.
    """
    _update_from(0, panel, m, gram, np.float32(1))


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky_inplace(a, order):
    """Factor ``a[:order, :order] = U.T @ U`` in place; False if it is not positive definite.

    U is above the diagonal, its diagonal inverted. Blocked right-looking: a tile on the diagonal, the tiles
    to its right, then all tiles below.
    """
    n = a.shape[1]
    for p in range(0, n, TILE_COLUMNS):
        if not _factor_tile(a, p, order):
            return False
        for j in range(p + TILE_COLUMNS, n, TILE_COLUMNS):
            _solve_tile(a, p, j)
        _update_from(p + TILE_COLUMNS, a[p:], TILE_COLUMNS, a, np.float32(-1))
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve_lower_inplace(u, b):
    """Solve ``U.T x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    for p in range(0, len(b), TILE_COLUMNS):
        _forward(u, p, b)


@njit(cache=True, nogil=True, error_model="numpy")
def solve_upper_inplace(u, b):
    """Solve ``U x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    for p in range((len(b) - 1) // TILE_COLUMNS * TILE_COLUMNS, -1, -TILE_COLUMNS):
        _backward(u, p, b)


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky_solve_inplace(u, b):
    """Solve ``U.T @ U @ x = b`` for the factor of `cholesky_inplace`; `b` becomes x."""
    solve_lower_inplace(u, b)
    solve_upper_inplace(u, b)
