"""From bytes to fastText's hidden vectors: words as its reader splits them, rows of words, character and word n-grams, their mean.

Legend: N texts, T tokens, D dimension. Sums are float32 and run in the library's order (words, then word n-grams), except that in texts of
up to MEMO_TOKENS words the rows of a word with character n-grams are added up first, which lets words share that sum. In longer ones the
library's own rounding would tell.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from typing import Any, NamedTuple  # isort: skip

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.fasttext_file import NUM_CENTROIDS
from taggers.fasttext_file_kernels import BUCKET_FACTOR, ENTRY_BITS, ENTRY_MASK, KEY_BYTES, MAX_PROBES, hash_byte_kernel

# of a token
HASH, KEY, NUM_TOKEN_COLUMNS = 0, 1, 2
MEMO_KEY_BYTES = 24  # longer words are not remembered
MEMO_WORDS = 1 << 14
MEMO_TOKENS = 1 << 11
MEMO_ROWS = 32  # of words with more, rows are not remembered

_HASH_START = np.uint64(2166136261)
# space, \n, \r, \t, \v, \f and NUL part words
_SEPARATORS = np.uint64(1 << 32 | 1 << 10 | 1 << 13 | 1 << 9 | 1 << 11 | 1 << 12 | 1)
_END_OF_TEXT = np.frombuffer(b"</s>", np.uint8).copy()
_END_KEY = np.uint64(int.from_bytes(b"</s>", "little"))
_LABEL_KEY = np.uint64(int.from_bytes(b"__label_", "little"))
_LABEL_BYTES, _UNDERSCORE = 9, 95
_NGRAM_FACTOR = np.uint64(116049371)
_MAX_WAITING = 256  # rows that are added up together
_WORD_START, _WORD_END = 60, 62  # "<" and ">"


class Tokens(NamedTuple):
    """Words of texts, shared by all models that read them."""

    starts: Any  # int64 (T,)
    ends: Any  # int64 (T,)
    marks: Any  # uint64 (T, 2): FNV-1a hash, first eight bytes
    offsets: Any  # int64 (N + 1,): tokens of text i


class Memo(NamedTuple):
    """Sums of the rows of words with character n-grams, filled as texts are read; a word's place is its hash's."""

    keys: Any  # uint64 (M, 3): the word, zeros behind it; a word holds no NUL
    counts: Any  # int64 (M,): rows in the sum + 1; 0: free
    sums: Any  # float32 (M, D)
    # of long texts, in which no sum is shared, the rows themselves
    list_keys: Any  # uint64 (M, 3)
    list_sizes: Any  # int64 (M,): rows of the word + 1; 0: free
    lists: Any  # int64 (M, MEMO_ROWS): in the order in which they are added


@njit(inline="always", **KERNEL)
def _is_separator(byte):
    return byte <= 32 and (_SEPARATORS >> np.uint64(byte)) & np.uint64(1) != np.uint64(0)


@njit(**KERNEL)
def read_words_kernel(data, text_starts, text_ends, starts, ends, marks, token_offsets):
    """Words of every text as Dictionary::readWord has them, and behind them the end of text "</s>".

    Line feeds part words like spaces. A word "</s>" in the text ends it, as in the library: what stands behind it is not read.

    Parameters
    ----------
    data : uint8 (B,)               texts in UTF-8 or any bytes; may be read-only
    text_starts, text_ends : int64 (N,)     text i is data[text_starts[i]:text_ends[i]]
    starts, ends, marks             filled; room for one token in two bytes and one a text
    token_offsets : int64 (N + 1,)  filled
    """
    end_hash = _HASH_START
    for i in range(len(_END_OF_TEXT)):
        end_hash = hash_byte_kernel(end_hash, _END_OF_TEXT[i])
    token = 0
    token_offsets[0] = 0
    for row in range(len(text_starts)):
        place, end = text_starts[row], text_ends[row]
        ended = False
        while place < end and not ended:
            if _is_separator(data[place]):
                place += 1
                continue
            start = place
            value, key = _HASH_START, np.uint64(0)
            shift = np.uint64(0)
            while place < end:
                byte = data[place]
                if _is_separator(byte):
                    break
                value = hash_byte_kernel(value, byte)
                if shift < np.uint64(64):
                    key |= np.uint64(byte) << shift
                    shift += np.uint64(8)
                place += 1
            starts[token], ends[token] = start, place
            marks[token, HASH], marks[token, KEY] = value, key
            token += 1
            ended = key == _END_KEY and place - start == len(_END_OF_TEXT)
        if not ended:
            starts[token], ends[token] = 0, len(_END_OF_TEXT)
            marks[token, HASH], marks[token, KEY] = end_hash, _END_KEY
            token += 1
        token_offsets[row + 1] = token


@njit(**KERNEL)
def find_entry_kernel(words, data, start, end, value, key):
    """Number of the entry that is data[start:end], with its hash and first eight bytes; -1: there is none."""
    mask = np.uint64(len(words.slots) - 1)
    slot = value & mask
    for _ in range(MAX_PROBES):
        head = words.slots[slot, 0]
        if head == np.uint64(0):
            return -1
        if head >> ENTRY_BITS == value and words.slots[slot, 1] == key:
            entry = np.int64(head & ENTRY_MASK) - 1
            # a shorter word is its key: no word holds a NUL
            if end - start < KEY_BYTES:
                return entry
            first = words.starts[entry]
            if words.ends[entry] - first == end - start:
                same = True
                for i in range(KEY_BYTES, end - start):
                    if words.words[first + i] != data[start + i]:
                        same = False
                        break
                if same:
                    return entry
        slot = (slot + np.uint64(1)) & mask
    return -1


@njit(inline="always", **KERNEL)
def bucket_row_kernel(words, bucket):
    """The row of a bucket; -1 where pruning has left it out."""
    if not words.has_buckets:
        return -1
    if len(words.pruned) == 0:
        return words.num_words + bucket
    mask = len(words.pruned) - 1
    slot = (bucket * BUCKET_FACTOR) & mask
    for _ in range(MAX_PROBES):
        found = words.pruned[slot, 0]
        if found == bucket + 1:
            return words.num_words + np.int64(words.pruned[slot, 1])
        if found == 0:
            break
        slot = (slot + 1) & mask
    return -1


@njit(inline="always", **KERNEL)
def add_row_kernel(rows, row, total):
    """Add one row of the input matrix to `total`, float32 (D,)."""
    if len(rows.codes) == 0:
        for i in range(len(total)):
            total[i] += rows.dense[row, i]
        return
    factor = np.float32(1.0)
    if len(rows.norms) > 0:
        factor = rows.norms[row]
    for part in range(rows.codes.shape[1]):
        first = part * rows.width
        width = min(rows.width, len(total) - first)
        place = first * NUM_CENTROIDS + np.int64(rows.codes[row, part]) * width
        for i in range(width):
            total[first + i] += factor * rows.centroids[place + i]


@njit(**KERNEL)
def _add_ids(rows, ids, count, total):
    # rows in order, four at a time where they are stored as they are
    first = 0
    if len(rows.codes) == 0:
        dense = rows.dense
        while first + 4 <= count:
            a, b, c, d = ids[first], ids[first + 1], ids[first + 2], ids[first + 3]
            for i in range(len(total)):
                total[i] = total[i] + dense[a, i] + dense[b, i] + dense[c, i] + dense[d, i]
            first += 4
    for place in range(first, count):
        add_row_kernel(rows, ids[place], total)


@njit(inline="always", **KERNEL)
def _wait(rows, ids, num_ids, row, total):
    # one more id; those that wait are added first when there is no room; returns how many wait then
    if num_ids == len(ids):
        _add_ids(rows, ids, num_ids, total)
        num_ids = 0
    ids[num_ids] = row
    return num_ids + 1


@njit(**KERNEL)
def add_chars_kernel(words, rows, data, start, end, padded, ids, total):
    """Add the rows of all character n-grams of "<" + word + ">"; returns how many.

    padded : uint8 scratch for the word and two signs; ids : int64 scratch of any length
    """
    size = end - start + 2
    padded[0], padded[size - 1] = _WORD_START, _WORD_END
    for i in range(start, end):
        padded[i - start + 1] = data[i]
    num_buckets = np.uint32(words.num_buckets)
    count = waiting = 0
    for i in range(size):
        if padded[i] & 0xC0 == 0x80:
            continue
        value = _HASH_START
        j = i
        for length in range(1, words.max_chars + 1):
            if j >= size:
                break
            value = hash_byte_kernel(value, padded[j])
            j += 1
            while j < size and padded[j] & 0xC0 == 0x80:
                value = hash_byte_kernel(value, padded[j])
                j += 1
            if length >= words.min_chars and not (length == 1 and (i == 0 or j == size)):
                row = bucket_row_kernel(words, np.int64(np.uint32(value) % num_buckets))
                if row >= 0:
                    waiting = _wait(rows, ids, waiting, row, total)
                    count += 1
    _add_ids(rows, ids, waiting, total)
    return count


@njit(inline="always", **KERNEL)
def _pack_eight(data, start, end):
    # up to eight bytes as one number, zeros behind them
    key = np.uint64(0)
    for i in range(start, min(end, start + KEY_BYTES)):
        key |= np.uint64(data[i]) << np.uint64(8 * (i - start))
    return key


@njit(inline="always", **KERNEL)
def _is_word(keys, data, start, end, key):
    # whether the word that has these keys, uint64 (3,), is data[start:end], with its first eight bytes
    if keys[0] != key or end - start > MEMO_KEY_BYTES:
        return False
    return keys[1] == _pack_eight(data, start + 8, end) and keys[2] == _pack_eight(data, start + 16, end)


@njit(inline="always", **KERNEL)
def _add_remembered(memo, slot, data, start, end, key, total):
    # the rows in the sum that the memo has of a word, which is then added; -1: the memo has another word or none
    if memo.counts[slot] == 0 or not _is_word(memo.keys[slot], data, start, end, key):
        return -1
    for i in range(len(total)):
        total[i] += memo.sums[slot, i]
    return memo.counts[slot] - 1


@njit(**KERNEL)
def _remember(memo, slot, data, start, end, word_sum, count):
    # the sum of a word's rows and how many they are, for the next time
    if end - start <= MEMO_KEY_BYTES:
        for part in range(MEMO_KEY_BYTES // KEY_BYTES):
            memo.keys[slot, part] = _pack_eight(data, start + 8 * part, end)
        memo.counts[slot] = count + 1
        memo.sums[slot, :] = word_sum


@njit(inline="always", **KERNEL)
def _add_listed(memo, slot, data, start, end, key, rows, total):
    # as _add_remembered, from the list of the word's rows, one by one
    if memo.list_sizes[slot] == 0 or not _is_word(memo.list_keys[slot], data, start, end, key):
        return -1
    count = memo.list_sizes[slot] - 1
    _add_ids(rows, memo.lists[slot], count, total)
    return count


@njit(**KERNEL)
def _list_rows(memo, slot, data, start, end, entry, char_ids, num_chars):
    # a word's own row, where it has one, and those of its character n-grams, for the next time
    own = 1 if entry >= 0 else 0
    if end - start > MEMO_KEY_BYTES or own + num_chars > MEMO_ROWS:
        return
    for part in range(MEMO_KEY_BYTES // KEY_BYTES):
        memo.list_keys[slot, part] = _pack_eight(data, start + 8 * part, end)
    if own:
        memo.lists[slot, 0] = entry
    for place in range(num_chars):
        memo.lists[slot, own + place] = char_ids[place]
    memo.list_sizes[slot] = own + num_chars + 1


@njit(**KERNEL)
def _add_ngrams(words, rows, hashes, num_hashes, ids, num_ids, total):
    # add the ids that wait, then the rows of word n-grams; returns how many n-grams have a row
    count = 0
    for first in range(num_hashes):
        value = hashes[first]
        for last in range(first + 1, min(first + words.word_ngrams, num_hashes)):
            value = value * _NGRAM_FACTOR + hashes[last]
            found = bucket_row_kernel(words, np.int64(value % np.uint64(words.num_buckets)))
            if found >= 0:
                num_ids = _wait(rows, ids, num_ids, found, total)
                count += 1
    _add_ids(rows, ids, num_ids, total)
    return count


@njit(**KERNEL)
def hidden_vectors_kernel(data, tokens, words, rows, memo, hidden, counts):
    """Mean of the rows of every text.

    Parameters
    ----------
    data : uint8 (B,)           the texts
    tokens : Tokens             of read_words_kernel
    words, rows                 of fasttext_file.ModelArrays
    memo : Memo                 for models with character n-grams
    hidden : float32 (N, D)     filled
    counts : int64 (N,)         filled: rows in the mean; 0: the model knows nothing of the text, and hidden is 0
    """
    longest = 0
    for row in range(len(counts)):
        longest = max(longest, tokens.offsets[row + 1] - tokens.offsets[row])
    ids = np.empty(_MAX_WAITING, np.int64)
    hashes = np.empty(longest if words.word_ngrams > 1 else 0, np.uint64)
    word_sum = np.empty(hidden.shape[1], np.float32)
    has_chars = words.max_chars > 0
    longest = 0
    for token in range(tokens.offsets[len(counts)] if has_chars else 0):
        longest = max(longest, tokens.ends[token] - tokens.starts[token])
    padded, char_ids = np.empty(longest + 2, np.uint8), np.empty(_MAX_WAITING, np.int64)
    for row in range(len(counts)):
        total = hidden[row]
        total[:] = np.float32(0.0)
        num_ids = num_hashes = count = 0
        sums_words = has_chars and tokens.offsets[row + 1] - tokens.offsets[row] <= MEMO_TOKENS
        for token in range(tokens.offsets[row], tokens.offsets[row + 1]):
            start, end = tokens.starts[token], tokens.ends[token]
            value, key = tokens.marks[token, HASH], tokens.marks[token, KEY]
            slot = np.int64(value & np.uint64(len(memo.counts) - 1))
            remembered, entry = -1, -1
            if sums_words:
                remembered = _add_remembered(memo, slot, data, start, end, key, total)
            elif has_chars:
                remembered = _add_listed(memo, slot, data, start, end, key, rows, total)
            if remembered < 0:
                entry = find_entry_kernel(words, data, start, end, value, key)
                if entry >= words.num_words:
                    continue  # a label of the model
                if (
                    entry < 0
                    and end - start >= _LABEL_BYTES
                    and key == _LABEL_KEY
                    and data[start + KEY_BYTES] == _UNDERSCORE
                ):
                    continue
            if words.word_ngrams > 1:
                # the library keeps hashes as int32, whose sign goes into the product
                signed = np.int64(value)
                hashes[num_hashes] = np.uint64(signed - (1 << 32) if signed >= 1 << 31 else signed)
                num_hashes += 1
            if remembered >= 0:
                count += remembered
            elif has_chars and not (key == _END_KEY and end - start == len(_END_OF_TEXT)):
                sums = word_sum if sums_words else total
                num_rows = 0
                if sums_words:
                    word_sum[:] = np.float32(0.0)
                if entry >= 0:
                    add_row_kernel(rows, entry, sums)
                    num_rows = 1
                num_chars = add_chars_kernel(words, rows, data, start, end, padded, char_ids, sums)
                num_rows += num_chars
                if sums_words:
                    _remember(memo, slot, data, start, end, word_sum, num_rows)
                    total += word_sum
                else:
                    _list_rows(memo, slot, data, start, end, entry, char_ids, num_chars)
                count += num_rows
            elif entry >= 0:
                num_ids = _wait(rows, ids, num_ids, entry, total)
                count += 1
        count += _add_ngrams(words, rows, hashes, num_hashes, ids, num_ids, total)
        counts[row] = count
        if count > 0:
            total *= np.float32(1.0 / count)
