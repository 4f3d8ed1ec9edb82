"""Vectors: a Numba type that is a machine's vector register, or a few.

    Row     float32, `LANES` samples of one feature or neuron
    Words   uint32, the same
    Native  float32, `NATIVE` neighbours in memory: one register
    Wide    float32, `WIDE` neighbours in memory: as many registers as a product can sum in at once beside each other

`LANES` is a few registers, so that a sum over rows has enough independent chains to keep the multipliers busy. Values
of these types have the arithmetic operators, with each other and with scalars; comparison gives a mask for `where`.
LLVM turns them into whatever the processor has: AVX-512, AVX2, NEON. Memory is reached through `Pointer`, with offsets
in elements.

Everything in this file is typing and code generation for Numba; no kernel is compiled here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from toymodels.kernels.compiled import NUMBA_SETTINGS

INT32 = ir.IntType(32)
ELEMENT = {
    "float": ir.FloatType(),
    "double": ir.DoubleType(),
    "uint": INT32,
    "wide": ir.IntType(64),
    "bool": ir.IntType(1),
}
SCALAR = {"float": types.float32, "uint": types.uint32, "wide": types.uint64}


def _widths() -> tuple[int, int]:
    """Lanes of a register and of a row: a product keeps 4 rows and a little more in the registers there are."""
    features = NUMBA_SETTINGS.CPU_FEATURES  # Numba's own setting, for code that is to run on other processors too
    if features is None:
        host = {} if NUMBA_SETTINGS.CPU_NAME else llvm.get_host_cpu_features()
        features = ",".join(f"+{name}" for name, on in host.items() if on)
    if "+avx512f" in features:
        return 16, 64
    if "+avx" in features:
        return 8, 16
    return 4, 16


NATIVE, LANES = _widths()
WIDE = 2 * NATIVE if NATIVE == 16 else NATIVE
"""Two registers where there are 32 of them, of which eight sums take half; else one."""


def processor() -> str:
    """The kind of processor that kernels are compiled for: on another the same models differ by rounding."""
    return f"{NUMBA_SETTINGS.CPU_NAME or llvm.get_host_cpu_name()}, rows of {LANES}"


class Vector(types.Type):
    """``lanes`` elements of one kind, computed with at once."""

    def __init__(self, kind: str, lanes: int) -> None:
        self.kind, self.lanes = kind, lanes
        super().__init__(f"Vector({kind} x {lanes})")

    @property
    def ir(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(ELEMENT[self.kind], self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)


Row = Vector("float", LANES)
Words = Vector("uint", LANES)
Native = Vector("float", NATIVE)
Wide = Vector("float", WIDE)
Blocks = Vector("wide", LANES // 4)


def emitted(body: Callable[..., Any]) -> Any:
    """A function of kernels whose code ``body`` writes in LLVM's language."""
    return intrinsic(body)


def _lanes(indices: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(INT32, len(indices)), list(indices))


def _splat(builder: Any, scalar: Any, vector: ir.VectorType) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, _lanes([0] * vector.count))


def _take(builder: Any, value: Any, indices: Sequence[int]) -> Any:
    """The lanes of ``value`` named by ``indices``."""
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), _lanes(indices))


def _pieces(builder: Any, value: Any) -> list[Any]:
    """A row as native registers."""
    return [_take(builder, value, range(start, start + NATIVE)) for start in range(0, LANES, NATIVE)]


def _call(builder: Any, name: str, arguments: Sequence[Any]) -> Any:
    """An LLVM intrinsic on vectors of one type."""
    vector = arguments[0].type
    suffix = f"v{vector.count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}"
    function = ir.FunctionType(vector, [vector] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), arguments)


def _as_vector(context: Any, builder: Any, value: Any, given: types.Type, vector: Vector) -> Any:
    if isinstance(given, Vector):
        return value
    return _splat(builder, context.cast(builder, value, given, SCALAR[vector.kind]), vector.ir)


# ----------------------------------------------------------------------------------------------------------- operators


def _operator(op: Callable[..., Any], kinds: Sequence[str], emit: Callable[..., Any], mask: bool = False) -> None:
    """Define ``op`` on two vectors of one type, or a vector and a scalar."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vectors = [arg for arg in args if isinstance(arg, Vector)]
            others = [arg for arg in args if not isinstance(arg, Vector)]
            if not vectors or vectors[0].kind not in kinds or any(v != vectors[0] for v in vectors):
                return None
            if not all(isinstance(other, types.Number) for other in others):
                return None
            vector = vectors[0]
            result = Vector("bool", vector.lanes) if mask else vector
            return signature(result, *(arg if isinstance(arg, Vector) else SCALAR[vector.kind] for arg in args))

    declare: Any = infer_global(op)
    declare(Template)
    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):

        @lower_builtin(op, *pair)
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = next(arg for arg in sig.args if isinstance(arg, Vector))
            values = (_as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True))
            return emit(builder, vector.kind == "float", *values)


def _compare(sign: str) -> Callable[..., Any]:
    compare = "fcmp_unordered" if sign == "!=" else "fcmp_ordered"  # NaN differs from everything
    return lambda b, is_float, x, y: getattr(b, compare if is_float else "icmp_unsigned")(sign, x, y)


_NUMBERS, _INTEGERS = ("float", "uint", "wide"), ("uint", "wide", "bool")
_operator(operator.add, _NUMBERS, lambda b, is_float, x, y: b.fadd(x, y) if is_float else b.add(x, y))
_operator(operator.sub, _NUMBERS, lambda b, is_float, x, y: b.fsub(x, y) if is_float else b.sub(x, y))
_operator(operator.mul, _NUMBERS, lambda b, is_float, x, y: b.fmul(x, y) if is_float else b.mul(x, y))
_operator(operator.truediv, ("float",), lambda b, _, x, y: b.fdiv(x, y))
_operator(operator.xor, _INTEGERS, lambda b, _, x, y: b.xor(x, y))
_operator(operator.and_, _INTEGERS, lambda b, _, x, y: b.and_(x, y))
_operator(operator.or_, _INTEGERS, lambda b, _, x, y: b.or_(x, y))
_operator(operator.lshift, _INTEGERS, lambda b, _, x, y: b.shl(x, y))
_operator(operator.rshift, _INTEGERS, lambda b, _, x, y: b.lshr(x, y))
for _sign, _op in (
    ("<", operator.lt),
    ("<=", operator.le),
    (">", operator.gt),
    (">=", operator.ge),
    ("==", operator.eq),
    ("!=", operator.ne),
):
    _operator(_op, _NUMBERS, _compare(_sign), mask=True)


# -------------------------------------------------------------------------------------------------------------- memory


class Pointer(types.Type):
    """Where an array's elements begin. Unlike an array it costs nothing to pass on, so inner functions take it."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"Pointer({dtype})")


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Pointer) -> None:
        super().__init__(manager, pointer, manager.lookup(pointer.dtype).get_data_type().as_pointer())


@emitted
def pointer(typing: Any, array: Any) -> Any:
    """pointer(array): to the first element of a contiguous array, which must outlive it.

    Only for arrays that Python passes in: Numba frees one that a kernel makes after the last line that names it.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return Pointer(array.dtype)(array), generate


@emitted
def shifted(typing: Any, base: Any, offset: Any) -> Any:
    """shifted(base, offset): the pointer ``offset`` elements on."""
    return base(base, types.intp), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


@emitted
def at(typing: Any, base: Any, offset: Any) -> Any:
    """at(base, offset): one element."""
    return base.dtype(base, types.intp), lambda context, builder, sig, args: builder.load(
        builder.gep(args[0], [args[1]])
    )


@emitted
def put(typing: Any, base: Any, offset: Any, value: Any) -> Any:
    """put(base, offset, value): write one element."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(base, types.intp, base.dtype), generate


def _place(builder: Any, base: Any, offset: Any, vector: Vector) -> Any:
    return builder.bitcast(builder.gep(base, [offset]), vector.ir.as_pointer())


def _loader(vector: Vector) -> Any:
    @emitted
    def load(typing: Any, base: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            loaded = builder.load(_place(builder, args[0], args[1], vector))
            loaded.align = 4
            return loaded

        return vector(base, types.intp), generate

    return load


load = _loader(Row)
"""load(base, offset): the row that begins there."""
load_native = _loader(Native)
"""load_native(base, offset): one register."""


@emitted
def load_column(typing: Any, turned: Any, offset: Any, like: Any) -> Any:
    """load_column(turned, offset, like): of one sample as many neurons as ``like`` has lanes, where `transpose` wrote
    them: every `NATIVE` a register, and the next ones `NATIVE` rows on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = []
        for k in range(0, like.lanes, NATIVE):
            place = builder.add(args[1], ir.Constant(args[1].type, k * LANES))
            parts.append(builder.load(_place(builder, args[0], place, Native)))
            parts[-1].align = 4
        while len(parts) > 1:
            both = _lanes(range(2 * parts[0].type.count))
            parts = [builder.shuffle_vector(a, b, both) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return like(turned, types.intp, like), generate


@emitted
def add_to(typing: Any, base: Any, offset: Any, value: Any) -> Any:
    """add_to(base, offset, value): to neighbours in memory, as many as ``value`` has lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(builder, args[0], args[1], sig.args[2])
        before = builder.load(place)
        before.align = 4
        builder.store(builder.fadd(before, args[2]), place).align = 4
        return context.get_dummy_value()

    return types.void(base, types.intp, value), generate


@emitted
def store(typing: Any, base: Any, offset: Any, value: Any) -> Any:
    """store(base, offset, value): write a row or register."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = builder.store(args[2], _place(builder, args[0], args[1], sig.args[2]))
        stored.align = 4
        return context.get_dummy_value()

    return types.void(base, types.intp, value), generate


# ---------------------------------------------------------------------------------------------------------- arithmetic


def _splatter(vector: Vector) -> Any:
    @emitted
    def splat(typing: Any, scalar: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _splat(builder, args[0], vector.ir)

        return vector(SCALAR[vector.kind]), generate

    return splat


splat = _splatter(Row)
"""splat(scalar): a row with the same value in every lane."""
splat_native = _splatter(Native)
splat_wide = _splatter(Wide)
splat_words = _splatter(Words)
splat_blocks = _splatter(Blocks)


@emitted
def fma(typing: Any, a: Any, x: Any, c: Any) -> Any:
    """fma(a, x, c) = a x + c, in one instruction where there is one; scalars are repeated over the lanes."""
    vector = next(arg for arg in (a, x, c) if isinstance(arg, Vector))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [_as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True)]
        return _call(builder, "fmuladd", values)

    return vector(*(arg if isinstance(arg, Vector) else types.float32 for arg in (a, x, c))), generate


@emitted
def where(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """where(mask, a, b): a where the mask is set, b elsewhere; at most one of them a scalar."""
    vector = a if isinstance(a, Vector) else b

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        chosen = (_as_vector(context, builder, v, t, vector) for v, t in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], *chosen)

    return vector(mask, *(v if isinstance(v, Vector) else SCALAR[vector.kind] for v in (a, b))), generate


def _function(name: str) -> Any:
    @emitted
    def function(typing: Any, value: Any) -> Any:
        return value(value), lambda context, builder, sig, args: _call(builder, name, args)

    return function


sqrt = _function("sqrt")
absolute = _function("fabs")


@emitted
def bits(typing: Any, value: Any) -> Any:
    """The bits of a float row as words, or of words as a float row."""
    other = Vector("uint" if value.kind == "float" else "float", value.lanes)
    return other(value), lambda context, builder, sig, args: builder.bitcast(args[0], other.ir)


@emitted
def lanes_of(typing: Any, mask: Any) -> Any:
    """The lanes where a mask is set, as bits of one uint64, the first lane lowest."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        packed = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return packed if mask.lanes == 64 else builder.zext(packed, ir.IntType(64))

    return types.uint64(mask), generate


def _bit_function(name: str, flags: Sequence[Any]) -> Any:
    @emitted
    def function(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(word, [word, *(flag.type for flag in flags)])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [args[0], *flags])

        return types.int64(types.uint64), generate

    return function


count = _bit_function("llvm.ctpop.i64", [])
"""count(bits): how many are set."""
lowest = _bit_function("llvm.cttz.i64", [ir.Constant(ir.IntType(1), 1)])
"""lowest(bits): the place of the lowest that is set; there must be one."""


@emitted
def fold(typing: Any, row: Any) -> Any:
    """The registers of a row added up: a native vector of partial sums, in a fixed order."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = _pieces(builder, args[0])
        while len(parts) > 1:
            parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return Native(row), generate


@emitted
def dot(typing: Any, x: Any, y: Any, partial: Any) -> Any:
    """dot(x, y, partial): partial sums of x y over the registers of two rows, added to ``partial``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        result = args[2]
        for a, b in zip(_pieces(builder, args[0]), _pieces(builder, args[1]), strict=True):
            result = _call(builder, "fmuladd", [a, b, result])
        return result

    return Native(x, y, partial), generate


@emitted
def total(typing: Any, value: Any) -> Any:
    """The sum over the lanes, by halves."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rest, lanes = args[0], value.lanes
        while lanes > 1:
            lanes //= 2
            rest = builder.fadd(_take(builder, rest, range(lanes)), _take(builder, rest, range(lanes, 2 * lanes)))
        return builder.extract_element(rest, ir.Constant(INT32, 0))

    return types.float32(value), generate


@emitted
def add_transposed(typing: Any, source: Any, offset: Any, target: Any, row: Any) -> Any:
    """add_transposed(source, offset, target, row): the inverse of `transpose`, added to `NATIVE` rows."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def place(base: Any, offset: Any, by: int) -> Any:
            return _place(builder, base, builder.add(offset, ir.Constant(offset.type, by)), Native)

        for start in range(0, LANES, NATIVE):
            block = []
            for sample in range(start, start + NATIVE):
                block.append(builder.load(place(args[0], args[1], sample * NATIVE)))
                block[-1].align = 4
            for k, piece in enumerate(_transposed(builder, block)):
                at_row = place(args[2], args[3], k * LANES + start)
                before = builder.load(at_row)
                before.align = 4
                builder.store(builder.fadd(before, piece), at_row).align = 4
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


@emitted
def transpose(typing: Any, source: Any, row: Any, target: Any, offset: Any) -> Any:
    """transpose(source, row, target, offset): `NATIVE` rows from ``row`` on, as `LANES` registers, sample by sample."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def place(base: Any, offset: Any, by: int) -> Any:
            return _place(builder, base, builder.add(offset, ir.Constant(offset.type, by)), Native)

        for start in range(0, LANES, NATIVE):
            block = []
            for k in range(NATIVE):
                block.append(builder.load(place(args[0], args[1], k * LANES + start)))
                block[-1].align = 4
            for sample, column in enumerate(_transposed(builder, block)):
                builder.store(column, place(args[2], args[3], (start + sample) * NATIVE)).align = 4
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


def _transposed(builder: Any, block: list[Any]) -> list[Any]:
    """A square of registers transposed, by interleaving halves log2 times."""
    size = len(block)
    low = [lane for pair in zip(range(size // 2), range(size, size + size // 2), strict=True) for lane in pair]
    high = [lane + size // 2 for lane in low]
    for _ in range(size.bit_length() - 1):
        half = size // 2
        pairs = [(block[k], block[k + half]) for k in range(half)]
        block = [builder.shuffle_vector(a, b, _lanes(lanes)) for a, b in pairs for lanes in (low, high)]
    return block


# ---------------------------------------------------------------------------------------------------------- the stream


@emitted
def consecutive(typing: Any, first: Any) -> Any:
    """first, first + 1, ...: the numbers of the blocks of four samples in a tile."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        steps = ir.Constant(Blocks.ir, list(range(Blocks.lanes)))
        return builder.add(_splat(builder, args[0], Blocks.ir), steps)

    return Blocks(types.uint64), generate


@emitted
def low_product(typing: Any, x: Any, factor: Any) -> Any:
    """The full 64-bit product of the low 32 bits of x and a 32-bit factor: one instruction where there is one."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low = ir.Constant(Blocks.ir, [0xFFFFFFFF] * Blocks.lanes)
        return builder.mul(builder.and_(args[0], low), _splat(builder, args[1], Blocks.ir))

    return Blocks(Blocks, types.uint64), generate


@emitted
def words_of(typing: Any, w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    """The words of a tile: lane ``LANES / 4 * k + b`` holds word k of block b."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        quarter = Blocks.lanes
        a, b, c, d = (builder.trunc(word, ir.VectorType(INT32, quarter)) for word in args)
        low = builder.shuffle_vector(a, b, _lanes(range(2 * quarter)))
        high = builder.shuffle_vector(c, d, _lanes(range(2 * quarter)))
        return builder.shuffle_vector(low, high, _lanes(range(4 * quarter)))

    return Words(w0, w1, w2, w3), generate


@emitted
def quotient(typing: Any, words: Any, divisor: Any, inverse: Any, signed: Any) -> Any:
    """r = u / T as float64 division rounds it, then float32; or 2 r - 1 where ``signed`` (a mask of all lanes or none).

    One Newton step on u (1 / T) gives the correctly rounded quotient when 1 / T is correctly rounded and the mantissa
    of T is not all ones, which 33 bits cannot be (Markstein 1990).
    """
    vector = ir.VectorType(ir.DoubleType(), LANES)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        u = builder.uitofp(args[0], vector)
        t, i = _splat(builder, args[1], vector), _splat(builder, args[2], vector)
        q = builder.fmul(u, i)
        rest = _call(builder, "fma", [builder.fneg(q), t, u])
        q = _call(builder, "fma", [rest, i, q])
        twice = builder.fsub(builder.fadd(q, q), ir.Constant(vector, [1.0] * LANES))
        return builder.fptrunc(builder.select(args[3], twice, q), Row.ir)

    return Row(words, types.float64, types.float64, types.boolean), generate


@emitted
def in_order(typing: Any, value: Any) -> Any:
    """A row or words whose lanes are those of `words_of`, in the order of the samples."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        quarter = LANES // 4
        return _take(builder, args[0], [quarter * (sample % 4) + sample // 4 for sample in range(LANES)])

    return value(value), generate
