"""Learning rates at the corners of the released runs."""

import json
import math

import pytest

from dolma_py.config import build_config
from dolma_py.errors import ConfigError
from train_bridge.run_training import train
from train_bridge.schedule import ScheduleConfig, learning_rate
from train_bridge.train_config import load_train_config

PART_ONE = {"kind": "cosine", "peak_lr": 3e-4, "warmup_steps": 2000, "total_steps": 1_192_092}
PART_TWO = {"kind": "half_cosine", "peak_lr": 3e-4, "warmup_steps": 597_046, "total_steps": 1_668_930}


WSD = {"kind": "wsd", "peak_lr": 2.0, "warmup_steps": 4, "final_frac": 0.0, "decay_frac": 0.1, "period_ends": (20, 40)}


@pytest.mark.parametrize(
    ("values", "step", "expected"),
    [
        (PART_ONE, 0, 0.0),
        (PART_ONE, 1000, 1.5e-4),
        (PART_ONE, 2000, 3e-4),
        (PART_ONE, 100_000, 2.955077e-4),
        (PART_ONE, 597_046, 1.65e-4),
        (PART_ONE, 1_192_092, 3e-5),
        (PART_ONE, 9_999_999, 3e-5),
        (PART_TWO, 0, 1.65e-4),
        (PART_TWO, 597_046, 1.65e-4),
        (PART_TWO, 1_000_000, 8.98340e-5),
        (PART_TWO, 1_413_814, 3.93252e-5),
        (PART_TWO, 1_668_930, 3e-5),
        ({"kind": "linear", "peak_lr": 2.0, "warmup_steps": 4, "total_steps": 14, "final_frac": 0.0}, 2, 1.0),
        ({"kind": "linear", "peak_lr": 2.0, "warmup_steps": 4, "total_steps": 14, "final_frac": 0.0}, 9, 1.0),
        ({"kind": "linear", "peak_lr": 2.0, "warmup_steps": 0, "total_steps": 10, "final_frac": 0.5}, 10, 1.0),
        ({"kind": "constant", "peak_lr": 2.0, "warmup_steps": 10}, 5, 1.0),
        ({"kind": "constant", "peak_lr": 2.0, "warmup_steps": 10}, 500, 2.0),
        ({"kind": "linear", "peak_lr": 2.0, "final_frac": 0.0}, 50, 1.0),  # ends with the run
        # e + (lr - e) sqrt(w / step): 0.2 + 1.8 / 2
        ({"kind": "inverse_sqrt", "peak_lr": 2.0, "warmup_steps": 10, "total_steps": 90}, 5, 1.0),
        ({"kind": "inverse_sqrt", "peak_lr": 2.0, "warmup_steps": 10, "total_steps": 90}, 40, 1.1),
        ({"kind": "inverse_sqrt", "peak_lr": 2.0, "warmup_steps": 10, "total_steps": 90}, 900, 0.8),
        ({**WSD, "period_ends": ()}, 2, 1.0),
        ({**WSD, "period_ends": ()}, 90, 2.0),
        ({**WSD, "period_ends": ()}, 95, 1.0),
        ({**WSD, "period_ends": ()}, 100, 0.0),
        ({**WSD, "period_ends": ()}, 500, 0.0),
        (WSD, 18, 2.0),
        (WSD, 19, 1.0),
        (WSD, 20, 0.0),
        (WSD, 21, 2.0),
        (WSD, 38, 2.0),  # the second period is 20 to 40: 2 steps of decay
        (WSD, 39, 1.0),
        (WSD, 94, 2.0),
        (WSD, 97, 1.0),  # the last is 40 to 100: 6 steps
        (WSD, 100, 0.0),
        # constant then linear, and a linear tail of a cosine, from `then`
        (
            {
                "kind": "constant",
                "peak_lr": 2.0,
                "switch_step": 60,
                "then": {"kind": "linear", "peak_lr": 2.0, "warmup_steps": 60, "final_frac": 0.0},
            },
            80,
            1.0,
        ),
    ],
)
def test_rate_at_known_steps(values, step, expected):
    got = learning_rate(ScheduleConfig(**values), step, run_steps=100)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_released_7b_curve_is_continuous_where_the_halves_meet():
    config = ScheduleConfig(**PART_ONE, switch_step=597_046, then=ScheduleConfig(**PART_TWO))
    before, at = (learning_rate(config, step, run_steps=1_413_814) for step in (597_045, 597_046))
    assert before == pytest.approx(at, rel=1e-5)
    assert at == pytest.approx(1.65e-4, rel=1e-6)
    assert learning_rate(config, 1_000_000, run_steps=1_413_814) == pytest.approx(8.98340e-5, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"switch_step": 3}, "switch_step"),
        ({"then": {"peak_lr": 1.0}}, "switch_step"),
        ({"warmup_steps": 5, "total_steps": 5}, "total_steps"),
        ({"peak_lr": 0.0}, "peak_lr"),
        ({"period_ends": (5,)}, "period_ends"),
        ({"kind": "wsd", "period_ends": (5, 5)}, "period_ends"),
        ({"kind": "wsd", "period_ends": (5,), "warmup_steps": 5}, "period_ends"),
        ({"kind": "wsd", "period_ends": (5,), "total_steps": 5}, "total_steps"),
        ({"kind": "inverse_sqrt"}, "warmup_steps"),
        ({"switch_step": 3, "then": {"peak_lr": 1.0, "warmup_steps": 5, "total_steps": 5}}, "then.total_steps"),
    ],
)
def test_impossible_curves_are_refused_by_key(values, key):
    with pytest.raises(ConfigError) as caught:
        build_config(ScheduleConfig, {"kind": "cosine", "peak_lr": 1.0, **values}, prefix="schedule")
    assert caught.value.key == f"schedule.{key}"
    assert "{" not in str(caught.value)  # the one value, not the whole section


@pytest.mark.parametrize(
    ("schedule", "key"),
    [
        ("{peak_lr: 1.0, warmup_steps: 10}", "schedule.warmup_steps"),
        ("{kind: constant, peak_lr: 1.0, warmup_steps: 2000}", "schedule.warmup_steps"),
        ("{kind: half_cosine, peak_lr: 1.0, warmup_steps: 10}", "schedule.warmup_steps"),
        ("{kind: inverse_sqrt, peak_lr: 1.0, warmup_steps: 10}", "schedule.warmup_steps"),
        ("{kind: wsd, peak_lr: 1.0, period_ends: [5, 10]}", "schedule.period_ends"),
        ("{peak_lr: 1.0, switch_step: 5, then: {kind: linear, peak_lr: 1.0, warmup_steps: 10}}", "schedule.then.warmup_steps"),
    ],
)  # fmt: skip
def test_what_lies_beyond_the_run_is_refused_by_key(schedule, key, train_config_file):
    """Its 10 steps are the end of a curve without total_steps; one that is longer says so, and one step less fits."""
    options = {"manifest": None}
    with pytest.raises(ConfigError, match="expected less than run.steps=10, where the curve ends") as caught:
        load_train_config(str(train_config_file), overrides=["model.vocab_size=128", f"schedule={schedule}"], **options)
    assert caught.value.key == key
    for fitting in (
        schedule.replace("10", "9").replace("2000", "9"),
        schedule.replace("peak_lr", "total_steps: 4000, peak_lr"),
    ):
        load_train_config(str(train_config_file), overrides=["model.vocab_size=128", f"schedule={fitting}"], **options)


def test_the_first_update_of_a_warm_up_moves_weights_and_the_last_has_the_rate_of_the_end(
    make_shards, train_config_file, tmp_path
):
    """The rates that a run writes are of steps 1 to 10, OLMo-core's count; the last is what a dry run calls the rate at the end."""
    options = {
        "config": str(train_config_file),
        "shards": str(make_shards()),
        "overrides": [],
        "output": str(tmp_path / "run"),
    }
    planned = train(**options, dry_run=True)["lr_at_end"]
    train(**options, dry_run=False)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-3 + 9e-3 * (1 + math.cos(math.pi / 8)) / 2])
    assert rates[-1] == planned == pytest.approx(1e-3)
