"""The web part of the released 6T mix, topic by topic: rates as released, as the rule of that mix gives them, and as the written rule does.

    python -m benchmarks.released_mix

Nothing is measured: the released numbers are those of mixers/released_rates.yaml, the others are solved from the same kept tokens, 40% of a
topic's tokens lying below them.
"""

from __future__ import annotations

import numpy as np

from mixers.curve import CurveConfig, solve_curves
from mixers.released_curve import RELEASED_POWER, fit_topic, load_released, mean_rates

UNIT = 1 << 30


def main() -> None:
    print(
        "| topic | kept, mix (1024^3) | steepness | rms | rms, digits as they are | top rate released, fitted | written p, lambda | its top rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, topic in load_released().items():
        fit = fit_topic(name)
        kept = float(topic.tokens.sum())
        fitted = mean_rates(topic.tokens, power=RELEASED_POWER, steepness=fit.steepness, mean=topic.mix_tokens / kept)
        tokens = np.rint(np.concatenate([[kept * 0.4 / 0.6], topic.tokens]) * UNIT).astype(np.int64)[None, :]
        written = solve_curves(
            tokens, target_tokens=np.array([topic.mix_tokens * UNIT]), max_rate=np.array([7.0]), config=CurveConfig(), names=[name]
        ) if topic.mix_tokens / kept < 6 else None  # fmt: skip
        curve = "none" if written is None else f"{written.power[0]:.2f}, {written.growth[0]:.2f}"
        top = "" if written is None else f"{written.top_rate[0]:.2f}"
        print(
            f"| {name} | {kept:.1f}, {topic.mix_tokens:.1f} | {fit.steepness:.2f} | {fit.rms:.3f} | {fit.rms_as_written:.3f} | "
            f"{topic.rate[-1]:g}, {fitted[-1]:.2f} | {curve} | {top} |"
        )


if __name__ == "__main__":
    main()
