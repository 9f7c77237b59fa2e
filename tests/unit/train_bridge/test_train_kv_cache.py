"""The cache: the same logits as reading from the start, rows of different lengths, and only the window on sliding layers."""

import pytest
import torch

from tests.unit.train_bridge.test_train_model import YARN, random_ids, small_model

WINDOW = 4  # of small_model, whose layer 3 and last layer are full


@pytest.mark.parametrize("max_tokens", [None, 20, 100])
@pytest.mark.parametrize("cuts", [(7, 8, 13, 20), (1, 2, 3, 20), (20,), (3, 5, 6, 7, 19, 20)])
def test_cache_gives_the_logits_of_reading_from_the_start(cuts, max_tokens):
    """Pieces of one and of several tokens, shorter and longer than the window, in buffers that grow and that do not."""
    model, ids = small_model(yarn=YARN), random_ids(2, 20)
    cache, parts, first = model.new_cache(max_tokens=max_tokens), [], 0
    with torch.no_grad():
        for end in cuts:
            parts.append(model(ids[:, first:end], cache=cache))
            first = end
        expected = model(ids)
    assert float((torch.cat(parts, dim=1) - expected).abs().max()) < 2e-5


def test_sliding_layers_keep_the_window_and_no_more():
    """The bytes of the buffers themselves, not of views of them, after a long first piece and after single tokens."""
    model, ids = small_model(), random_ids(3, 150)
    cache = model.new_cache(max_tokens=160)
    per_token = 2 * 3 * 2 * 12 * 4  # keys and values, rows, heads, dimensions, bytes
    with torch.no_grad():
        model(ids, cache=cache)
        for step in range(10):
            model(ids[:, step : step + 1], cache=cache)
    assert cache.num_tokens == 160
    for layer, window in zip(cache.layers, model.windows, strict=True):
        assert layer.nbytes == per_token * (160 if window is None else WINDOW)
        assert layer.k_BKSE.shape[2] == (160 if window is None else WINDOW)
    assert cache.nbytes == per_token * (2 * 160 + 3 * WINDOW)


def test_full_layers_grow_by_half_when_their_length_is_not_known():
    model = small_model()
    cache = model.new_cache()
    sizes = []
    with torch.no_grad():
        for _ in range(200):
            model(random_ids(1, 1), cache=cache)
            sizes.append(cache.layers[3].k_BKSE.shape[2])
    assert sorted(set(sizes)) == [64, 97, 147, 222]
    assert all(size >= number + 1 for number, size in enumerate(sizes))


@pytest.mark.parametrize("max_tokens", [None, 30])
def test_rows_of_different_lengths_equal_rows_alone(max_tokens):
    """Pads on the left; then three single tokens, a piece of five, and one row taken out in between."""
    model, lengths = small_model(yarn=YARN), [1, 13, 6]
    texts = [random_ids(1, length + 9, seed=length) for length in lengths]
    longest = max(lengths)
    ids = torch.zeros(3, longest, dtype=torch.int64)
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        ids[row, longest - length :] = text[0, :length]
    cache = model.new_cache(pads=[longest - length for length in lengths], max_tokens=max_tokens)
    with torch.no_grad():
        got = [[part[-1:]] for part in model(ids, cache=cache)]
        for step in range(3):
            new = torch.cat([text[:, n + step : n + step + 1] for text, n in zip(texts, lengths, strict=True)])
            for row, logits in enumerate(model(new, cache=cache)):
                got[row].append(logits)
        cache.keep_rows([2, 0])
        new = torch.cat([texts[row][:, lengths[row] + 3 : lengths[row] + 8] for row in (2, 0)])
        for row, logits in zip((2, 0), model(new, cache=cache), strict=True):
            got[row].append(logits)
        for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
            expected = model(text)[0, length - 1 : length + (2 if row == 1 else 7) + 1]
            assert float((torch.cat(got[row])[: len(expected)] - expected).abs().max()) < 3e-5


def test_a_cache_takes_no_documents():
    model, ids = small_model(), random_ids(1, 4)
    with pytest.raises(ValueError, match="documents_BT: expected None with a cache"):
        model.hidden(ids, documents_BT=torch.zeros_like(ids), cache=model.new_cache())
