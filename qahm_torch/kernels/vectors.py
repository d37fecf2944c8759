r"""Heat-bath updates of many chains as vector instructions, written out for the compiler.

Left to itself, the compiler keeps sums in memory and takes half of the width of the processor.
Here the sums of a few spins times a few vectors of chains stay in registers, and each coupling
and each spin that is loaded is used several times, as in a product of matrices.
"""

from __future__ import annotations

__all__ = ["LANES", "ROWS", "field_of_row", "field_of_rows", "update_in_rows", "update_of_row"]

from collections.abc import Callable
from functools import partial
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from qahm_torch.kernels.heat_bath import power_of_fraction, uniform_of, xoshiro

# The numbers in a vector, and the vectors of chains side by side, such that the sums of `ROWS`
# spins fit into the registers.
_FEATURES = llvm.get_host_cpu_features()
# (Kernels in the cache are not compiled anew when this file changes, but when `panels` does.)
WIDTH, VECTORS = (
    (16, 4) if _FEATURES.get("avx512f") else (8, 2) if _FEATURES.get("avx") else (4, 4)
)
LANES = WIDTH * VECTORS
ROWS = 4

# llvmlite has no types.
Builder = Any
Value = Any

_allocated: Callable[..., Value] = cgutils.alloca_once
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)
# Rounds to integers when added and subtracted; its low bits are then the integer.
_ROUNDING = 12582912.0


class Vector:
    r"""Values of as many chains as a vector instruction takes, as they are in the program.

    Operators add instructions to the program; numbers stand for vectors of equal values.
    """

    def __init__(self, builder: Builder, value: Value):
        self.builder = builder
        self.value = value

    def __add__(self, other: Vector | float) -> Vector:
        if self.value.type == _INTS:
            return self._new(self.builder.add(self.value, self._value(other)))
        return self._new(self.builder.fadd(self.value, self._value(other), flags=("contract",)))

    def __sub__(self, other: Vector | float) -> Vector:
        return self._new(self.builder.fsub(self.value, self._value(other), flags=("contract",)))

    def __mul__(self, other: Vector | float) -> Vector:
        return self._new(self.builder.fmul(self.value, self._value(other), flags=("contract",)))

    def __xor__(self, other: Vector) -> Vector:
        return self._new(self.builder.xor(self.value, other.value))

    def __or__(self, other: Vector) -> Vector:
        return self._new(self.builder.or_(self.value, other.value))

    def __lshift__(self, count: int) -> Vector:
        return self._new(self.builder.shl(self.value, self._value(count)))

    def __rshift__(self, count: int) -> Vector:
        return self._new(self.builder.lshr(self.value, self._value(count)))

    def clip(self, low: float, high: float) -> Vector:
        return self.below(high, self, high).below(low, low, None)

    def below(self, limit: float, yes: Vector | float, no: Vector | float | None) -> Vector:
        r"""Returns `yes` where the value is below the limit, elsewhere `no`, or self for None."""
        condition = self.builder.fcmp_ordered("<", self.value, self._value(limit))
        no = self if no is None else no
        return self._new(self.builder.select(condition, self._value(yes), self._value(no)))

    def to_float(self) -> Vector:
        return self._new(self.builder.sitofp(self.value, _FLOATS))

    def bits(self) -> Vector:
        return self._new(self.builder.bitcast(self.value, _INTS))

    def as_float(self) -> Vector:
        return self._new(self.builder.bitcast(self.value, _FLOATS))

    def _value(self, other: Vector | float) -> Value:
        if isinstance(other, Vector):
            return other.value
        return ir.Constant(self.value.type, [other] * WIDTH)

    def _new(self, value: Value) -> Vector:
        return Vector(self.builder, value)


class Table:
    r"""An array whose rows are taken in pieces: `table[i]` is a pointer to its i-th number."""

    def __init__(self, builder: Builder, data: Value):
        self.builder = builder
        self.data = data

    def pointer(self, *terms: Value | int) -> Value:
        address = self.data
        for term in terms:
            address = self.builder.gep(address, [_integer(term)])
        return address

    def scalar(self, *terms: Value | int) -> Value:
        return self.builder.load(self.pointer(*terms))

    def broadcast(self, *terms: Value | int) -> Vector:
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        single = self.builder.insert_element(nothing, self.scalar(*terms), first)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
        return Vector(self.builder, self.builder.shuffle_vector(single, nothing, zeros))

    def load(self, *terms: Value | int, kind: Any = _FLOATS) -> Vector:
        pointer = self.builder.bitcast(self.pointer(*terms), kind.as_pointer())
        return Vector(self.builder, self.builder.load(pointer, align=4 * WIDTH))

    def store(self, vector: Vector, *terms: Value | int) -> None:
        pointer = self.builder.bitcast(self.pointer(*terms), vector.value.type.as_pointer())
        self.builder.store(vector.value, pointer, align=4 * WIDTH)


def _integer(value: Value | int) -> Value:
    return ir.Constant(ir.IntType(64), value) if isinstance(value, int) else value


def _tables(context: Any, builder: Builder, signature: Any, args: Any) -> list[Any]:
    r"""Returns the arguments, arrays as tables."""
    return [
        Table(builder, context.make_array(kind)(context, builder, arg).data)
        if isinstance(kind, types.Array)
        else arg
        for kind, arg in zip(signature.args, args, strict=True)
    ]


def _program(emit: Callable[..., None]) -> Callable[..., Any]:
    def codegen(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        emit(builder, *_tables(context, builder, signature, args))
        return context.get_dummy_value()

    return codegen


def _emit_fields(
    rows: int,
    builder: Builder,
    field: Table,
    h: Table,
    state: Table,
    columns: Table,
    values: Table,
    row: Value,
    first: Value,
    last: Value,
) -> None:
    sums = [[_allocated(builder, _FLOATS) for _ in range(VECTORS)] for _ in range(rows)]
    for r in range(rows):
        for slot in sums[r]:
            builder.store(h.broadcast(row, r).value, slot)
    with cgutils.for_range_slice(builder, first, last, _integer(1), _integer(0).type) as (p, _):
        start = builder.mul(columns.scalar(p), _integer(LANES))
        spins = [state.load(start, v * WIDTH) for v in range(VECTORS)]
        for r in range(rows):
            coupling = values.broadcast(builder.mul(p, _integer(rows)), r)
            for slot, spin in zip(sums[r], spins, strict=True):
                total = Vector(builder, builder.load(slot)) + coupling * spin
                builder.store(total.value, slot)
    for r in range(rows):
        for v, slot in enumerate(sums[r]):
            field.store(Vector(builder, builder.load(slot)), r * LANES + v * WIDTH)


def _emit_update(
    rows: int,
    builder: Builder,
    state: Table,
    field: Table,
    own: Table,
    base: Table,
    beta: Table,
    seeds: Table,
    hold: Table,
    gap: Table,
    i: Value,
    held: Value,
) -> None:
    k = builder.urem(i, _integer(rows))
    start = builder.mul(builder.sub(i, k), _integer(LANES))
    site = builder.mul(i, _integer(LANES))
    couplings = []
    if rows > 1:
        couplings = [own.broadcast(builder.mul(i, _integer(rows)), m) for m in range(rows)]
    for v in range(0, LANES, WIDTH):
        f = field.load(builder.mul(k, _integer(LANES)), v)
        for m, coupling in enumerate(couplings):
            f = f + coupling * state.load(start, m * LANES, v)
        shift = base.broadcast(i) + hold.load(builder.mul(held, _integer(LANES)), v)
        odds = _exp2(beta.load(v) * f + shift)
        uniform = _draw(seeds, v)
        spin = (uniform * odds + uniform).below(1.0, _constant(builder, 1.0), -1.0)
        gap.store(gap.load(v) + (spin - state.load(site, v)) * f, v)
        state.store(spin, site, v)


def _constant(builder: Builder, value: float) -> Vector:
    return Vector(builder, ir.Constant(_FLOATS, [value] * WIDTH))


# Words of vectors have no more than 32 bits.
_next_words: Callable[..., tuple[Vector, ...]] = xoshiro(lambda word: word)
_uniform: Callable[[Vector], Vector] = uniform_of(Vector.to_float)


def _draw(seeds: Table, v: int) -> Vector:
    r"""Returns uniform numbers, by a generator per lane."""
    bits, *words = _next_words(*(seeds.load(q * LANES, v, kind=_INTS) for q in range(4)))
    for q, word in enumerate(words):
        seeds.store(word, q * LANES, v)
    return _uniform(bits)


def _exp2(x: Vector) -> Vector:
    r"""Returns 2**x to 1e-5, for x cut off at +-115."""
    x = x.clip(-115.0, 115.0)
    rounded = x + _ROUNDING
    power: Vector = power_of_fraction(x - (rounded - _ROUNDING))
    return (power.bits() + (rounded.bits() << 23)).as_float()


def _field_intrinsic(rows: int) -> Any:
    def fields(
        typing: Any, field: Any, h: Any, state: Any, columns: Any, values: Any,
        row: Any, first: Any, last: Any,
    ) -> Any:  # fmt: skip
        arguments = (field, h, state, columns, values, row, first, last)
        return types.void(*arguments), _program(partial(_emit_fields, rows))

    return intrinsic(fields)


def _update_intrinsic(rows: int) -> Any:
    def update(
        typing: Any, state: Any, field: Any, own: Any, base: Any, beta: Any, seeds: Any,
        hold: Any, gap: Any, i: Any, held: Any,
    ) -> Any:  # fmt: skip
        arguments = (state, field, own, base, beta, seeds, hold, gap, i, held)
        return types.void(*arguments), _program(partial(_emit_update, rows))

    return intrinsic(update)


field_of_row = _field_intrinsic(1)
field_of_rows = _field_intrinsic(ROWS)
update_of_row = _update_intrinsic(1)
update_in_rows = _update_intrinsic(ROWS)
