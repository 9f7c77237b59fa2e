"""The eight stop words of Gopher's quality rules, for the kernels that count them.

Source: Rae et al. 2021, arXiv 2112.11446, A.1.1.
"""

from __future__ import annotations

STOP_WORDS = (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")
# the same as numbers, their first byte the least
PACKED_STOP_WORDS = tuple(int.from_bytes(word, "little") for word in STOP_WORDS)
