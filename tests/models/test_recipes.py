"""Schedules are pure functions of the iteration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recipes import RECIPES


def test_dfl_repeats_the_batch_before_in_every_third_iteration():
    numbers = [RECIPES["dfl"].batch_for(iteration) for iteration in range(8)]
    assert numbers == [
        (0, False), (1, False), (2, False), (2, True), (3, False), (4, False), (4, True), (5, False)
    ]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
@given(batch=st.integers(0, 10**6))
def test_first_iteration_is_the_inverse_of_batch_for(name, batch):
    recipe = RECIPES[name]
    first = recipe.first_iteration(batch)
    assert recipe.batch_for(first) == (batch, False)
    assert first == 0 or recipe.batch_for(first - 1)[0] == batch - 1


@pytest.mark.parametrize("name", RECIPES)
@given(iteration=st.integers(0, 10**6))
def test_plans_are_sane(name, iteration):
    plan = RECIPES[name].plan(iteration)
    assert 0 < plan.rate <= 2e-3
    assert 0 < plan.keep <= 1
    assert 0 < plan.augment_share <= 1
    assert 0 <= plan.encoder_share <= 1
    assert RECIPES[name].plan(iteration) == plan
