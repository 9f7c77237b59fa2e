"""32 bytes in one step of the processor, for kernels that look for a few bytes in long texts.

LLVM makes vector code of a loop only where it ends after a known number of steps, which a search does not. These are written in its
own vector types instead, so they compile for every processor, to one or two vectors of what it has.

A caller vouches that LANES bytes from each position lie inside the arrays: nothing is checked.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from typing import Any

import dolma_py.numba_options  # noqa: F401  (before numba)

from llvmlite import ir  # isort: skip
from numba import types  # isort: skip
from numba.extending import intrinsic  # isort: skip

LANES = 32
_BYTE, _BITS, _INT64 = ir.IntType(8), ir.IntType(LANES), ir.IntType(64)
_VECTOR = ir.VectorType(_BYTE, LANES)


def _pointer(context, builder, kind, array, at):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _load(builder, pointer):
    loaded = builder.load(pointer)
    loaded.align = 1
    return loaded


def _splat(byte: int):
    return ir.Constant(_VECTOR, [byte] * LANES)


def _first(builder, found):
    """The number of the first lane that is true, LANES when none is."""
    first = builder.cttz(builder.bitcast(found, _BITS), ir.Constant(ir.IntType(1), 0))
    return builder.zext(first, _INT64)


def _copy_run(typingctx, source, at, target, to):
    """Copy source[at:at + LANES] to target[to:] and return how many of these bytes stand before the first quote, backslash or
    control character (below 32): LANES when there is none. uint8 arrays, int64 positions.
    """

    def codegen(context, builder, signature, args):
        loaded = _load(builder, _pointer(context, builder, signature.args[0], args[0], args[1]))
        stored = builder.store(loaded, _pointer(context, builder, signature.args[2], args[2], args[3]))
        stored.align = 1
        is_quote = builder.icmp_unsigned("==", loaded, _splat(0x22))
        is_backslash = builder.icmp_unsigned("==", loaded, _splat(0x5C))
        is_control = builder.icmp_unsigned("<", loaded, _splat(0x20))
        return _first(builder, builder.or_(builder.or_(is_quote, is_backslash), is_control))

    return types.int64(source, types.int64, target, types.int64), codegen


def _find_newline(typingctx, source, at):
    """How many bytes of source[at:at + LANES] stand before the first newline: LANES when there is none."""

    def codegen(context, builder, signature, args):
        loaded = _load(builder, _pointer(context, builder, signature.args[0], args[0], args[1]))
        return _first(builder, builder.icmp_unsigned("==", loaded, _splat(0x0A)))

    return types.int64(source, types.int64), codegen


def _is_ascii(typingctx, source, at):
    """Whether source[at:at + LANES] are bytes below 128."""

    def codegen(context, builder, signature, args):
        loaded = _load(builder, _pointer(context, builder, signature.args[0], args[0], args[1]))
        high = builder.bitcast(builder.icmp_unsigned(">=", loaded, _splat(0x80)), _BITS)
        return builder.icmp_unsigned("==", high, ir.Constant(_BITS, 0))

    return types.boolean(source, types.int64), codegen


def _is_utf8_run(typingctx, source, at):
    """Whether source[at:at + LANES] goes on as UTF-8 behind the three bytes before it, which are looked at, as far as it goes: a
    character may be cut off by its end.
    """

    def codegen(context, builder, signature, args):
        here, back1, back2, back3 = (
            _load(
                builder,
                _pointer(context, builder, signature.args[0], args[0], builder.sub(args[1], ir.Constant(_INT64, back))),
            )
            for back in range(4)
        )

        def above(loaded, byte):
            return builder.icmp_unsigned(">=", loaded, _splat(byte))

        def below(loaded, byte):
            return builder.icmp_unsigned("<", loaded, _splat(byte))

        def equal(loaded, byte):
            return builder.icmp_unsigned("==", loaded, _splat(byte))

        goes_on = builder.and_(above(here, 0x80), below(here, 0xC0))
        has_to = builder.or_(above(back1, 0xC0), builder.or_(above(back2, 0xE0), above(back3, 0xF0)))
        bad = [
            builder.xor(goes_on, has_to),
            above(here, 0xF5),
            builder.and_(above(here, 0xC0), below(here, 0xC2)),  # two bytes for what one holds
            builder.and_(equal(back1, 0xE0), below(here, 0xA0)),  # three for what two hold
            builder.and_(equal(back1, 0xED), above(here, 0xA0)),  # half of a surrogate pair
            builder.and_(equal(back1, 0xF0), below(here, 0x90)),  # four for what three hold
            builder.and_(equal(back1, 0xF4), above(here, 0x90)),  # beyond U+10FFFF
        ]
        found = bad[0]
        for other in bad[1:]:
            found = builder.or_(found, other)
        return builder.icmp_unsigned("==", builder.bitcast(found, _BITS), ir.Constant(_BITS, 0))

    return types.boolean(source, types.int64), codegen


# untyped, for a caller leaves out the first argument
copy_run: Any = intrinsic(_copy_run)
find_newline: Any = intrinsic(_find_newline)
is_ascii: Any = intrinsic(_is_ascii)
is_utf8_run: Any = intrinsic(_is_utf8_run)
