"""plan.yaml gives its values again, whatever they are, and a small change of the plan changes few lines."""

from __future__ import annotations

import difflib

from hypothesis import given
from hypothesis import strategies as st

from dolma_py.config import parse_yaml
from mixers import plan
from mixers.plan_text import render_plan
from tests.unit.mixers.test_mixers_plan import CELLS, build_cells

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["no", "~", "1e3", "a: b", "- x", "#", "19"]
)
VALUES = (
    NAMES
    | st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.fixed_dictionaries({
    "source": NAMES, "topic": NAMES, "tokens": st.integers(0, 1 << 60), "rates": st.lists(st.floats(0, 1e6), max_size=4),
    "curve": st.dictionaries(st.sampled_from(["power", "growth", "binds"]), VALUES, max_size=3),
})  # fmt: skip


@given(
    st.lists(ROWS, max_size=3),
    VALUES,
    st.lists(st.dictionaries(NAMES.filter(bool), VALUES, min_size=1, max_size=3), max_size=2),
)
def test_values_survive(groups, value, sources):
    values = {"token_budget": value, "sources": sources, "shortages": sources, "groups": groups}
    assert parse_yaml(render_plan(values), "plan.yaml") == values


def test_a_plan_survives_and_is_the_same_again():
    config = plan.PlanConfig.model_validate(
        {"token_budget": 50_000, "sources": {"web": {"curve": True}, "wiki": {"share": 0.5}}}
    )
    values = plan.describe_plan(plan.make_plan(CELLS, config), config)
    text = render_plan(values)
    assert parse_yaml(text, "plan.yaml") == values and text == render_plan(values)


def test_a_review_sees_what_changed():
    cells = {("web", f"t{i:02d}"): [100] * 20 for i in range(24)}

    def render(share):
        config = plan.PlanConfig.model_validate(
            {"token_budget": 10_000, "sources": {"web": {"topics": {"t07": share}, "curve": True}}}
        )
        made = plan.make_plan(build_cells(cells), config)
        return render_plan(
            {"sources": made.sources, "groups": [row for row in made.groups if row["topic"] in ("t07", "t08")]}
        )

    before, after = render(0.1).splitlines(), render(0.2).splitlines()
    changed = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    # of each of the two groups: wanted and planned tokens, repetition, rates, tokens by bucket, curve
    assert len(changed) == 12 and max(map(len, before)) < 320
