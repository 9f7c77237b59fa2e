"""Gradients of pairs: beside float64 and one conversation at a time; micro-batches, rows and ranks change nothing; the reference's files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.rank_equality import MODEL
from dolma_py.errors import DataError
from tests.preference_ranks import (
    LAYOUTS,
    NUM_PAIRS,
    find_gradients,
    open_made_pairs,
    run_two_ranks,
    set_references,
    twin_shape,
)
from tests.reference import olmo3_gradients as twin
from tests.reference import preference as reference
from train_bridge import reference_log_probs
from train_bridge.loss import LossConfig
from train_bridge.model import build_model
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_mesh import Layout
from train_bridge.preference_step import cut_rows, pair_log_probs
from train_bridge.reference_log_probs import compute_references, is_complete, read_references
from train_bridge.step import StepSettings

CPU = torch.device("cpu")
TWIN_SHAPE = twin_shape(MODEL)


@pytest.fixture
def made(tmp_path):
    """Opens the same pairs with other settings."""

    def make(**options):
        dataset = open_made_pairs(tmp_path / "pairs", **options)
        set_references(dataset)
        return dataset

    return make


def one_process(dataset, tmp_path, micro=1, name="one"):
    return find_gradients(dataset, ParallelConfig(), Layout(), cache=tmp_path / name, micro=micro)


def float64_twin(dataset):
    """(mean loss, rewards, gradients by name, sums of ln p) by the twins: float64, one conversation at a time, whole logits."""
    state = twin.double_state(build_model(MODEL, seed=3).state_dict())
    config = dataset.preference
    total, rewards, sums = 0.0, [], []
    for i in range(dataset.num_instances):
        counts, known = dataset.num_labels[i].tolist(), dataset.references[i].tolist()
        values = []
        for side in (0, 1):
            ids, mask = dataset.read_conversation(i, side)
            logits = twin.logits(state, torch.from_numpy(ids), **TWIN_SHAPE)
            values.append(twin.label_log_probs(logits, torch.from_numpy(ids), torch.from_numpy(mask)).sum())
            plain = reference.response_log_prob(logits.tolist(), ids.tolist(), mask.tolist())
            assert plain == (pytest.approx(values[-1].item(), rel=1e-9), counts[side])
        policy = [value.item() for value in values]
        wanted = reference.preference_losses(policy, known, counts, loss=config.loss, beta=config.beta)
        slopes = reference.preference_slopes(policy, known, counts, loss=config.loss, beta=config.beta)
        (sum(slope * value for slope, value in zip(slopes, values, strict=True)) / dataset.num_instances).backward()
        rewards.append(wanted[1:])
        sums.append(policy)
        total += wanted[0] / dataset.num_instances
    return total, np.array(rewards), {name: one.grad for name, one in state.items()}, sums


@pytest.mark.parametrize("loss", ["dpo_norm", "dpo", "simpo", "wpo"])
def test_loss_and_gradients_are_those_of_a_float64_twin(loss, made, tmp_path):
    dataset = made(loss=loss, num_pairs=4)
    total, rewards, gradients, sums = float64_twin(dataset)
    found = one_process(dataset, tmp_path)
    assert found["loss"] == pytest.approx(total, rel=2e-5)
    assert found["more"]["rewards_chosen"] == pytest.approx(rewards[:, 0].mean(), rel=1e-4, abs=1e-4)
    assert found["more"]["rewards_rejected"] == pytest.approx(rewards[:, 1].mean(), rel=1e-4, abs=1e-4)
    assert found["more"]["reward_accuracy"] == pytest.approx((rewards[:, 0] > rewards[:, 1]).mean())
    torch.testing.assert_close(found["references"], torch.tensor(sums, dtype=torch.float32), rtol=1e-5, atol=1e-5)
    norm = torch.cat([one.flatten() for one in gradients.values()]).norm()
    assert norm > 0.001
    for name, one in gradients.items():
        assert float((found["gradients"][name].double() - one).abs().max() / norm) < 2e-6, name


def assert_same(found, wanted):
    """float32 sums in another order."""
    assert found["loss"] == pytest.approx(wanted["loss"], rel=2e-6)
    assert found["more"] == pytest.approx(wanted["more"], rel=1e-4, abs=1e-5)
    torch.testing.assert_close(found["references"], wanted["references"], rtol=1e-6, atol=1e-5)
    norm = torch.cat([one.flatten() for one in wanted["gradients"].values()]).norm()
    for name, one in wanted["gradients"].items():
        assert float((found["gradients"][name] - one).abs().max() / norm) < 1e-6, name


def test_micro_batches_and_rows_change_nothing(made, tmp_path):
    """One row at a time, all at once, a row for each pair, one row for all."""
    wanted = one_process(made(), tmp_path)
    for number, (tokens, micro) in enumerate([(48, 3), (48, 100), (100, 2), (400, 1)]):
        assert_same(one_process(made(sequence_tokens=tokens), tmp_path, micro, f"again-{number}"), wanted)


def test_two_ranks_equal_one_process(made, tmp_path):
    wanted = one_process(made(), tmp_path)
    for name, found in run_two_ranks(tmp_path, list(LAYOUTS)).items():
        assert found["loss"] != 0, name
        assert_same(found, wanted)


def test_another_conversation_of_the_row_changes_no_log_prob(made):
    dataset = made(sequence_tokens=400)
    model, settings = build_model(MODEL, seed=3), StepSettings(1, LossConfig(), 1.0, None)
    rows = dataset.read(range(NUM_PAIRS))
    assert len(rows.ids) == 1
    (batch,) = cut_rows(rows, num_rows=1, device=CPU)
    before = pair_log_probs(model, batch, settings)
    own = batch.documents_BT == 4  # the chosen conversation of the third pair
    batch.ids_BT[own] = (batch.ids_BT[own] + 1) % MODEL.vocab_size
    after = pair_log_probs(model, batch, settings)
    is_same = torch.isclose(before, after, rtol=0, atol=1e-6)
    assert not is_same[2, 0] and int((~is_same).sum()) == 1


def test_the_reference_is_kept_in_parts_and_a_killed_pass_goes_on(made, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_log_probs, "PART_PAIRS", 4)
    dataset, key = made(), {"some": "key"}
    model, settings = build_model(MODEL, seed=3), StepSettings(1, LossConfig(), 1.0, None)
    compute_references(dataset, model, tmp_path / "cache", key, settings=settings)
    wanted = read_references(dataset, tmp_path / "cache", key)
    (folder,) = (tmp_path / "cache").iterdir()
    parts = sorted(path.name for path in folder.glob("*.parquet"))
    assert parts == [f"part-{n:05d}.parquet" for n in range(3)]
    (folder / parts[1]).unlink()
    assert not is_complete(dataset, tmp_path / "cache", key)
    asked = []
    real = reference_log_probs._compute_part
    monkeypatch.setattr(reference_log_probs, "_compute_part", lambda *rest: asked.append(rest[2]) or real(*rest))
    compute_references(dataset, model, tmp_path / "cache", key, settings=settings)
    assert asked == [1] and is_complete(dataset, tmp_path / "cache", key)
    assert np.array_equal(read_references(dataset, tmp_path / "cache", key), wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.set_column(1, "chosen", pa.array([1.0, None, *[1.0] * 7], pa.float32())),
            "has no log-prob of pair 'pair-1'",
        ),
        (lambda table: table.take(list(range(8, -1, -1))), "has other pairs than 'pair-0'"),
        (lambda table: table.slice(1), "has other pairs than 'pair-0'"),
        (
            lambda table: table.drop_columns("rejected"),
            "log-probs of pairs 0 to 8 cannot be read|has no log-prob of pair 'pair-0'",
        ),
    ],
)
def test_a_missing_log_prob_is_an_error(change, message, made, tmp_path):
    dataset, key = made(), {}
    compute_references(
        dataset, build_model(MODEL, seed=3), tmp_path, key, settings=StepSettings(1, LossConfig(), 1.0, None)
    )
    (path,) = tmp_path.glob("*/part-00000.parquet")
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(DataError, match=message):
        read_references(dataset, tmp_path, key)
