"""Personal data as spans: e-mail addresses, telephone numbers, IP addresses, bank accounts (IBAN) and payment cards.

What counts, by kind:
- e-mail: a local part of letters, digits and "._%+'-" and a host name that ends in letters; not handles, users of URLs, git@host,
  file names such as icon@2x.png, message ids in headers, nor hosts reserved for examples (RFC 2606, 6761)
- telephone: "+" with an assigned calling code and 9 to 15 digits (E.164); North American numbers with separators; "(0..." with an area
  code; 7 to 15 digits behind a word such as "phone"; not dates, decimals, and what stands behind a word such as "order" or "isbn"
- IP: IPv4 and IPv6. Public addresses are personal data, private ones (also of loops, links, documentation, multicast) a kind of
  their own. Not versions: behind a word or operator that says so, or with all four octets below 32 or three
  below 10 (.05 % of all addresses)
- IBAN: a country's length and the checksum of ISO 13616; card: an issuer's range and the Luhn checksum of ISO/IEC 7812
Spans cover whole numbers and addresses, in UTF-8 bytes; digits and letters of ASCII alone count.

A view cuts `spans` (`edit: spans`) or drops documents by the counts. Dolma and datatrove replace with a marker; edits of this house cut,
and an export as Dolma attributes lets Dolma's mixer write its markers.

Source: the patterns are ours; what Dolma did with counts: more than 5 in a document dropped it, fewer were replaced
(Soldaini et al. 2024, section 5.3).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.spans import Spans, build_spans, count_bytes
from taggers import pii_address_kernels as kinds
from taggers.pii_kernels import find_pii_kernel

Int64 = npt.NDArray[np.int64]
Kind = Literal["email", "phone", "ip", "private_ip", "iban", "card"]
KINDS: dict[Kind, int] = {
    "email": kinds.EMAIL,
    "phone": kinds.PHONE,
    "ip": kinds.IP,
    "private_ip": kinds.PRIVATE_IP,
    "iban": kinds.IBAN,
    "card": kinds.CARD,
}
PERSONAL: tuple[Kind, ...] = ("email", "phone", "ip", "iban", "card")


class FoundPii(NamedTuple):
    """Spans of N documents with their kinds; sorted and disjoint in each document."""

    spans: Spans
    kinds: npt.NDArray[np.int8]  # (S,) values of KINDS

    def select(self, names: tuple[Kind, ...] | list[Kind]) -> Spans:
        """The spans of some kinds alone."""
        keep = np.isin(self.kinds, [KINDS[name] for name in names])
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
        return Spans(sums[self.spans.offsets], self.spans.starts[keep], self.spans.ends[keep])


def find_pii(data: npt.NDArray[np.uint8], offsets: Int64) -> FoundPii:
    """Find personal data in N texts in UTF-8.

    Parameters
    ----------
    data : uint8 (B,)           texts, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing

    Guarantees                  same spans for any batch split; bytes that are not UTF-8 part words, never a crash
    Cost                        O(B) time, O(S) memory

    Examples
    --------
    >>> text = np.frombuffer(b"mail a@b.co or 192.168.0.1", np.uint8)
    >>> found = find_pii(text, np.array([0, 26]))
    >>> found.spans.starts.tolist(), found.spans.ends.tolist(), found.kinds.tolist()
    ([5, 15], [11, 26], [1, 4])
    """
    num_docs = len(offsets) - 1
    span_offsets = np.zeros(num_docs + 1, np.int64)
    capacity = 256
    found = (np.empty(capacity, np.int8), np.empty(capacity, np.int64), np.empty(capacity, np.int64))
    row = 0
    while True:
        row = int(find_pii_kernel(data, offsets, row, span_offsets, *found))
        if row == num_docs:
            break
        # a document that did not fit is read again with twice the room
        found = (
            np.resize(found[0], 2 * capacity),
            np.resize(found[1], 2 * capacity),
            np.resize(found[2], 2 * capacity),
        )
        capacity *= 2
    total = int(span_offsets[-1])
    return FoundPii(Spans(span_offsets, found[1][:total], found[2][:total]), found[0][:total])


class PiiTaggerConfig(Config):
    """Which kinds are personal data."""

    kinds: list[Kind] = Field(
        list(PERSONAL),
        min_length=1,
        description="kinds in the columns spans, num_pii and pii_byte_frac; the others have their own columns",
    )


class PiiTagger:
    """Writes under attributes/pii-v1:

    num_emails, num_phones, num_ips, num_private_ips, num_ibans, num_cards      int64
    num_pii         int64     spans of the chosen kinds
    pii_byte_frac   float64   their share of the text's bytes
    <kind>_spans    SPANS     each kind in UTF-8 bytes of the text
    spans           SPANS     the chosen kinds together, for an edit
    """

    config_model = PiiTaggerConfig
    name = "pii"
    version = 1
    schema = pa.schema(
        [(f"num_{kind}s", pa.int64()) for kind in KINDS]
        + [("num_pii", pa.int64()), ("pii_byte_frac", pa.float64())]
        + [(f"{kind}_spans", SPANS) for kind in KINDS]
        + [("spans", SPANS)]
    )

    def __init__(self, config: PiiTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Spans and counts of each document."""
        data, offsets = view_text(batch.column("text"))
        found = find_pii(data, offsets)
        by_kind = [found.select((kind,)) for kind in KINDS]
        chosen = found.select(self.config.kinds)
        share = count_bytes(chosen) / np.maximum(np.diff(offsets), 1)
        columns = [pa.array(np.diff(spans.offsets)) for spans in (*by_kind, chosen)]
        columns += [pa.array(share), *(build_spans(spans) for spans in (*by_kind, chosen))]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
