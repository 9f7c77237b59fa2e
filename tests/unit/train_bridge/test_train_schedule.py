"""Learning rates at the corners of the released runs."""

import pytest
from pydantic import ValidationError

from train_bridge.schedule import ScheduleConfig, learning_rate

PART_ONE = {"kind": "cosine", "peak_lr": 3e-4, "warmup_steps": 2000, "total_steps": 1_192_092}
PART_TWO = {"kind": "half_cosine", "peak_lr": 3e-4, "warmup_steps": 597_046, "total_steps": 1_668_930}


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


@pytest.mark.parametrize("values", [{"switch_step": 3}, {"warmup_steps": 5, "total_steps": 5}, {"peak_lr": 0.0}])
def test_impossible_curves_are_refused(values):
    with pytest.raises(ValidationError):
        ScheduleConfig(**{"kind": "cosine", "peak_lr": 1.0, **values})
