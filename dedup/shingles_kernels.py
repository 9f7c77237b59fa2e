"""64-bit hashes of n-grams of words, characters or tokens, straight from the bytes of documents.

Legend: N documents, B bytes of all of them, W items (words, characters, tokens), S shingles, n items per shingle.
A shingle is n items in a row; a document with 1 to n - 1 items is short and follows the rule given for such; a document without
items has no shingle (and therefore never meets another one by accident).

  word hash   h = num_bytes * K; for each 8 bytes b, zero padded: h = (h ^ b) * M, h = h ^ (h >> 32)
  shingle     mix64( w_1 K^(n-1) + w_2 K^(n-2) + ... + w_n ),  all modulo 2^64
The sum is kept rolling: two multiplications per shingle whatever n is (Karp, Rabin 1987). mix64 is splitmix64's finaliser.
Instead of this hash a shingle's bytes (its words joined by one space, its characters, its token ids) can be hashed by XXH64 or
SHA-1, as other tools do. Documents are worked through in pieces, so that scratch stays in the first cache levels and does not
grow with the longest document.
Source: sets of word or token 5-grams, Olmo 3 A.2.2; documents shorter than n as in its released tool. The rolling hash is our own.
"""

from __future__ import annotations

from dedup.normalise_kernels import find_document_words_kernel
from dedup.sha1_kernels import sha1_kernel
from dolma_py.hashing_kernels import load64_kernel, mix64_kernel, xxh64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

WORD_FACTOR = np.uint64(0xD6E8FEB86659FD93)  # M: odd, from the search for good multipliers behind xmxmx mixers
ROLL_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # K: odd, 2^64 / golden ratio
U0, U1, U8, U32 = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(32)
ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
SPACE = np.uint8(32)
WORDS, CHARACTERS, TOKENS = 0, 1, 2  # units
ROLLING, XXH64, SHA1 = 0, 1, 2  # hashes
ONE_SHINGLE, SKIP, EXACT = 0, 1, 2  # rules for documents of fewer than n items
UNIT, LENGTH, HASH, SHORT, LEAST = range(5)  # places in a plan: unit, n, hash, rule for short documents, fewest items
PIECE_BYTES = 1 << 14  # of text at a time: words, hashes and shingles of a piece fit the second cache level
PIECE_SHINGLES = 1 << 12


@njit(**KERNEL)
def hash_word_kernel(data, start_byte, end_byte):
    """The word hash of data[start_byte:end_byte]; data must be readable 8 bytes beyond the end."""
    at = np.uint64(start_byte)
    num_bytes = np.uint64(end_byte) - at
    if num_bytes == U0:
        return WORD_FACTOR
    state = num_bytes * ROLL_FACTOR
    while num_bytes > U8:
        state = (state ^ load64_kernel(data, at)) * WORD_FACTOR
        state ^= state >> U32
        at += U8
        num_bytes -= U8
    mask = ALL_ONES >> ((U8 - num_bytes) * U8)
    state = (state ^ (load64_kernel(data, at) & mask)) * WORD_FACTOR
    return state ^ (state >> U32)


@njit(**KERNEL)
def roll_kernel(item_hashes, num_items, n, out_shingles):
    """Shingle hashes of one document's items into out_shingles[0:]; returns how many.

    item_hashes uint64 (>= num_items,). Items may be words, characters or tokens. out_shingles may be item_hashes itself:
    shingle k needs items k and later only, and item k is read before shingle k is written.
    Example: 4 items and n = 3 give 2 shingles; 2 items give 1; none gives 0.
    """
    if num_items == 0:
        return 0
    width = min(n, num_items)
    highest = U1  # K^width
    state = U0
    for k in range(width):
        highest *= ROLL_FACTOR
        state = state * ROLL_FACTOR + item_hashes[k]
    for k in range(num_items - width):
        leaving = item_hashes[k]
        out_shingles[k] = mix64_kernel(state)
        state = state * ROLL_FACTOR + item_hashes[k + width] - leaving * highest
    out_shingles[num_items - width] = mix64_kernel(state)
    return num_items - width + 1


@njit(**KERNEL)
def is_border_kernel(byte):
    """Whether an ASCII byte is neither letter nor digit: no word and no character of several bytes reaches across it."""
    return byte < 48 or (57 < byte < 65) or (90 < byte < 97) or (122 < byte < 128)


@njit(**KERNEL)
def end_piece_kernel(data, start_byte, end_byte):
    """Where the piece that starts at start_byte ends: behind the last border within PIECE_BYTES, else the next border, else the end."""
    limit = start_byte + PIECE_BYTES
    if limit >= end_byte:
        return end_byte
    at = limit
    while at > start_byte:
        if is_border_kernel(data[at - 1]):
            return at
        at -= 1
    at = limit
    while at < end_byte and not is_border_kernel(data[at]):
        at += 1
    return at


@njit(**KERNEL)
def make_scratch_kernel(num_bytes, n):
    """Scratch for pieces of num_bytes: lower, kind, start, end, item hashes, shingles."""
    num_items = num_bytes // 2 + 2
    return (
        np.zeros(num_bytes + 8, np.uint8),
        np.zeros(num_bytes + 72, np.uint8),
        np.empty(num_items, np.int32),
        np.empty(num_items, np.int32),
        np.empty(num_items + n, np.uint64),
        np.empty(num_items + n, np.uint64),
    )


@njit(**KERNEL)
def shingle_piece_kernel(data, start_byte, end_byte, n, num_kept, scratch):
    """Shingles of one piece of a document into the scratch; returns (words found, shingles, item hashes kept for the next piece).

    The first num_kept item hashes of the scratch are the last of the piece before: at most n - 1.
    """
    lower, kind, start, end, items, out_shingles = scratch
    num_words = find_document_words_kernel(data, start_byte, end_byte, lower, kind, start, end)
    for k in range(num_words):
        items[num_kept + k] = hash_word_kernel(lower, start[k], end[k])
    num_items = num_kept + num_words
    if num_items < n:
        return num_words, 0, num_items
    num_shingles = roll_kernel(items, num_items, n, out_shingles)
    for k in range(n - 1):
        items[k] = items[num_items - n + 1 + k]
    return num_words, num_shingles, n - 1


@njit(**KERNEL)
def short_shingle_kernel(items, num_items, rule, exact_hash, out_shingles):
    """The shingle of a document of fewer than n items into out_shingles[0]; returns 1, or 0 where it has none."""
    if num_items == 0 or rule == SKIP:
        return 0
    if rule == EXACT:
        out_shingles[0] = exact_hash
        return 1
    return roll_kernel(items, num_items, num_items, out_shingles)


@njit(**KERNEL)
def shingle_texts_kernel(data, offsets, plan, exact_hashes, out_hashes, out_offsets):
    """Rolling-hash word shingles of N documents, one document after the other; returns their number.

    data uint8 (B,), offsets int64 (N + 1,), plan int64 (5,), exact_hashes uint64 (N,) or empty where the rule does not need them,
    out_hashes uint64 (>= (B + N) // 2 + 1,), out_offsets int64 (N + 1,)
    Example: "a b c d", "a b" and "" with n = 3 give 2 + 1 + 0 shingles, offsets 0, 2, 3, 3.
    Cost: O(B) time, memory of one piece.
    """
    n = plan[LENGTH]
    scratch = make_scratch_kernel(PIECE_BYTES, n)
    total = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        at, first, num_items, kept = offsets[i], total, 0, 0
        while at < offsets[i + 1]:
            stop = end_piece_kernel(data, at, offsets[i + 1])
            if stop - at + 8 > len(scratch[0]):
                grown = make_scratch_kernel(stop - at, n)
                grown[4][:kept] = scratch[4][:kept]
                scratch = grown
            num_words, num_shingles, kept = shingle_piece_kernel(data, at, stop, n, kept, scratch)
            out_hashes[total : total + num_shingles] = scratch[5][:num_shingles]
            num_items += num_words
            total += num_shingles
            at = stop
        if num_items < n:
            exact = exact_hashes[i] if plan[SHORT] == EXACT else U0
            total += short_shingle_kernel(scratch[4], num_items, plan[SHORT], exact, out_hashes[total:])
        if num_items < plan[LEAST]:
            total = first
        out_offsets[i + 1] = total
    return total


@njit(**KERNEL)
def end_item_kernel(text, at, end_byte, unit):
    """Where the item that starts at byte `at` ends: words end before a space, characters before a first byte, tokens have 4 bytes."""
    if unit == TOKENS:
        return at + 4
    if unit == WORDS:
        while at < end_byte and text[at] != SPACE:
            at += 1
        return at
    at += 1
    while at < end_byte and (text[at] & np.uint8(0xC0)) == np.uint8(0x80):
        at += 1
    return at


@njit(**KERNEL)
def has_items_kernel(text, start_byte, end_byte, unit):
    """Whether there is anything but spaces (of words), any byte (of characters and tokens)."""
    if unit != WORDS:
        return end_byte > start_byte
    at = start_byte
    while at < end_byte and text[at] == SPACE:
        at += 1
    return at < end_byte


@njit(**KERNEL)
def hash_shingle_kernel(text, start_byte, end_byte, hash_kind, scratch):
    """XXH64 or the first 8 bytes of SHA-1 of text[start_byte:end_byte]; scratch uint32 (80,)."""
    if hash_kind == SHA1:
        return sha1_kernel(text, start_byte, end_byte, scratch)
    return xxh64_kernel(text, start_byte, end_byte, U0)


@njit(**KERNEL)
def start_document_kernel(start_byte, state):
    """Set the state of fill_shingles_kernel, int64 (n + 2,), to the start of a document."""
    state[0] = start_byte  # where the next item starts; one beyond the end when there is none
    state[1] = 0  # items seen


@njit(**KERNEL)
def fill_shingles_kernel(text, end_byte, plan, state, items, scratch, out_shingles):
    """Hashes of the next shingles of one document until out_shingles is full or the document ends; returns how many.

    text uint8, readable 8 bytes beyond end_byte; state int64 (n + 2,): place, items seen, starts of the last n items;
    items uint64 (n + 2,): hashes of the last n items, the rolling sum, K^n; scratch uint32 (80,)
    Example: words "a b c" with n = 2: "a b" and "b c".
    """
    unit, n, hash_kind = plan[UNIT], plan[LENGTH], plan[HASH]
    at, num_items, count = state[0], state[1], 0
    total, highest = items[n], items[n + 1]
    if num_items == 0:
        total, highest = U0, U1
        for _ in range(n):
            highest *= ROLL_FACTOR
    while count < len(out_shingles):
        if at > end_byte or (unit != WORDS and at == end_byte):
            break
        stop = end_item_kernel(text, at, end_byte, unit)
        place = num_items % n
        if hash_kind == ROLLING:
            item = hash_word_kernel(text, at, stop)
            leaving = items[place] if num_items >= n else U0
            total = total * ROLL_FACTOR + item - leaving * highest
            items[place] = item
        state[2 + place] = at
        num_items += 1
        if num_items >= n:
            if hash_kind == ROLLING:
                out_shingles[count] = mix64_kernel(total)
            else:
                first = state[2 + num_items % n]
                out_shingles[count] = hash_shingle_kernel(text, first, stop, hash_kind, scratch)
            count += 1
        at = stop + 1 if unit == WORDS else stop
    state[0], state[1], items[n], items[n + 1] = at, num_items, total, highest
    return count


@njit(**KERNEL)
def short_text_kernel(text, start_byte, end_byte, plan, exact_hash, items, scratch):
    """(has one, hash) of a document of fewer than n items, given what fill_shingles_kernel left of it."""
    if plan[SHORT] == SKIP:
        return False, U0
    if plan[SHORT] == EXACT:
        return True, exact_hash
    if plan[HASH] == ROLLING:
        return True, mix64_kernel(items[plan[LENGTH]])
    return True, hash_shingle_kernel(text, start_byte, end_byte, plan[HASH], scratch)


@njit(**KERNEL)
def shingle_normal_kernel(text, offsets, plan, exact_hashes, out_hashes, out_offsets):
    """Shingles of N normalised documents (words separated by single spaces, or characters, or token ids); returns their number.

    text uint8 (B + 8,), offsets int64 (N + 1,), plan int64 (5,), exact_hashes uint64 (N,) or empty,
    out_hashes uint64 (>= items of all documents,), out_offsets int64 (N + 1,)
    Example: characters of "abc" and "d", n = 2: 2 + 1 shingles. Cost: O(B) rolling, O(n B) for the other hashes; no memory.
    """
    n = plan[LENGTH]
    state, items, scratch = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.uint64), np.empty(80, np.uint32)
    total = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        out_offsets[i + 1] = total
        if not has_items_kernel(text, first, last, plan[UNIT]):
            continue
        start_document_kernel(first, state)
        count = fill_shingles_kernel(text, last, plan, state, items, scratch, out_hashes[total:])
        if count == 0:
            exact = exact_hashes[i] if plan[SHORT] == EXACT else U0
            has_one, shingle = short_text_kernel(text, first, last, plan, exact, items, scratch)
            if has_one:
                out_hashes[total] = shingle
                count = 1
        if state[1] >= plan[LEAST]:
            total += count
        out_offsets[i + 1] = total
    return total


@njit(**KERNEL)
def shingle_items_kernel(item_hashes, item_offsets, n, out_shingles, out_offsets):
    """Shingle hashes of N documents given as item hashes uint64 (W,) with item_offsets int64 (N + 1,)."""
    total = 0
    out_offsets[0] = 0
    for i in range(len(item_offsets) - 1):
        first = item_offsets[i]
        total += roll_kernel(item_hashes[first:], item_offsets[i + 1] - first, n, out_shingles[total:])
        out_offsets[i + 1] = total


@njit(**KERNEL)
def unique_sets_kernel(shingles, offsets, out_hashes, out_offsets):
    """Each document's shingles as a sorted set; returns the number of hashes written.

    shingles uint64 (S,), offsets int64 (N + 1,), out_hashes uint64 (S,), out_offsets int64 (N + 1,)
    Example: one document 5, 3, 5 gives 3, 5. Cost: O(S log S).
    """
    total = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        ordered = np.sort(shingles[offsets[i] : offsets[i + 1]])
        for k in range(len(ordered)):
            if k == 0 or ordered[k] != ordered[k - 1]:
                out_hashes[total] = ordered[k]
                total += 1
        out_offsets[i + 1] = total
    return total
