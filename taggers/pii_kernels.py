"""One sweep over the bytes that finds e-mail and IP addresses, telephone, account and card numbers.

Legend: N documents, B bytes of all texts, S spans. Bytes that may start or hold one (digits, "@", ":", "+", "(") are looked at;
all others cost one table look-up. Spans of a document are disjoint and ascend: where kinds compete the order is account, card, IP,
telephone, and the one that was found first keeps its bytes.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.pii_address_kernels import NONE, email_kernel, ipv4_kernel, ipv6_kernel
from taggers.pii_bytes import BYTE_BITS, DIGIT, GLUE, TRIGGER, WORD
from taggers.pii_number_kernels import card_kernel, foreign_phone_kernel, iban_kernel, phone_kernel


@njit(**KERNEL)
def _find_at(data, begin, floor, at, end, digits):
    """(kind, start, end, next): what the trigger at data[at] belongs to, and where the sweep goes on without a find."""
    byte = data[at]
    if byte == 64:
        kind, start, stop = email_kernel(data, begin, floor, at, end)
        return kind, start, stop, at + 1
    if byte == 58:
        kind, start, stop = ipv6_kernel(data, begin, floor, at, end)
        return kind, start, stop, at + 1
    if byte == 43:
        kind, start, stop = foreign_phone_kernel(data, begin, at, end)
        return kind, start, stop, at + 1
    if byte == 40:
        kind, start, stop = NONE, at, at
        if at + 1 < end and BYTE_BITS[data[at + 1]] & DIGIT:
            kind, start, stop = phone_kernel(data, begin, at, end)
        return kind, start, stop, at + 1
    run_end = at + 1
    while run_end < end and BYTE_BITS[data[run_end]] & DIGIT:
        run_end += 1
    if at > begin and BYTE_BITS[data[at - 1]] & WORD:
        kind, start, stop = iban_kernel(data, begin, floor, at, end)
        return kind, start, stop, run_end
    kind, start, stop = NONE, at, at
    glued = at > begin and BYTE_BITS[data[at - 1]] & GLUE and data[at - 1] != 61  # "card=4111..." is a field
    if not glued and (run_end - at == 4 or run_end - at >= 14):
        kind, start, stop = card_kernel(data, begin, at, end, digits)
    if kind == NONE and run_end - at <= 3 and run_end < end and data[run_end] == 46:
        kind, start, stop = ipv4_kernel(data, begin, floor, at, end)
    if kind == NONE:
        kind, start, stop = phone_kernel(data, begin, at, end)
    return kind, start, stop, run_end


@njit(**KERNEL)
def find_pii_kernel(data, offsets, first_row, out_offsets, out_kinds, out_starts, out_ends):
    """Fill the spans of documents from first_row on; returns the first row that did not fit, N when all did.

    data : uint8 (B,), offsets : int64 (N + 1,)       text i is data[offsets[i]:offsets[i + 1]]
    out_offsets : int64 (N + 1,)                      document i has spans out_offsets[i]:out_offsets[i + 1]; [first_row] is given
    out_kinds : int8 (S,)                             EMAIL, PHONE, IP, PRIVATE_IP, IBAN, CARD of pii_address_kernels
    out_starts, out_ends : int64 (S,)                 bytes from the text's own start

    "to a@b.co" -> one span of kind EMAIL, [3, 9)
    """
    digits = np.empty(19, np.uint8)
    capacity = len(out_kinds)
    for row in range(first_row, len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at = floor = begin
        written = out_offsets[row]
        while at < end:
            if BYTE_BITS[data[at]] & TRIGGER == 0:
                at += 1
                continue
            kind, start, stop, after = _find_at(data, begin, floor, at, end, digits)
            if kind == NONE:
                at = after
                continue
            if written == capacity:
                return row
            out_kinds[written] = kind
            out_starts[written] = start - begin
            out_ends[written] = stop - begin
            written += 1
            at = floor = stop
        out_offsets[row + 1] = written
    return np.int64(len(offsets) - 1)
