"""py3langid's model run by a kernel: the same labels, some ten times as fast; restricted to a set of languages where one is given.

Legend: N texts, C classes.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from py3langid import langid

from dolma_py.errors import ConfigError
from taggers.langid_kernels import Automaton, langid_scores_kernel


class Langid(NamedTuple):
    """The detector and its labels, class by class; a label may stand twice."""

    automaton: Automaton
    labels: tuple[str, ...]


@functools.lru_cache(maxsize=4)
def load_langid(languages: tuple[str, ...] = ()) -> Langid:
    """The packaged model; 1 s and about 100 MB, once per process and set of languages.

    Parameters
    ----------
    languages       the answers that are possible, of the model's own labels; empty: all of them

    Raises
    ------
    ConfigError     a language that the model does not know
    """
    loaded = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    unknown = [language for language in languages if language not in loaded.labels]
    if unknown:
        raise ConfigError(
            "languages", unknown[0], "no such label in py3langid's model", f"It has: {', '.join(loaded.labels)}."
        )
    chosen = [place for place, label in enumerate(loaded.nb_classes) if not languages or label in languages]
    labels = tuple(loaded.nb_classes[place] for place in chosen)
    automaton = Automaton(
        np.array(loaded.tk_nextmove),
        np.array(loaded.tk_row, np.int64) * 256,
        np.array(loaded.tk_output, np.int32),
        np.ascontiguousarray(np.asarray(loaded.nb_ptc)[:, chosen], np.float32),
        np.ascontiguousarray(np.asarray(loaded.nb_pc)[chosen], np.float32),
        np.array([labels.index(label) for label in labels], np.int64),
    )
    return Langid(automaton, labels)


def encode_text(text: str) -> bytes:
    """The bytes that the detector reads: composed characters; text in capitals alone is made small."""
    if text.isascii():
        return (text.lower() if text.isupper() else text).encode()
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")


def score_langid(model: Langid, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Probability of each class for each text, float32 (N, C), rows sum to 1; a second class of a label has 0.

    Guarantees      the labels of py3langid with norm_probs; probabilities within 1e-4 of its own
    """
    encoded = [encode_text(text) for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    scores = np.empty((len(encoded), len(model.labels)), np.float32)
    langid_scores_kernel(np.frombuffer(b"".join(encoded), np.uint8), offsets, model.automaton, scores)
    return scores


def knows_nothing(model: Langid, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether all labels are as probable, bool (N,): a text without a single n-gram of the model."""
    alone = [place for place, label in enumerate(model.labels) if model.labels.count(label) == 1]
    if len(alone) < 2:
        return np.zeros(len(scores), np.bool_)
    return np.ptp(scores[:, alone], axis=1) == 0
