"""The computed cost of a request, and cards from it."""

import pytest

from capacity import CARDS, Cost, cards_for, cost_of


def test_the_number_of_cards_grows_with_the_load_and_has_a_margin() -> None:
    cost = Cost(0.05, 0.02, 0.03)
    assert cards_for(7, cost) == 1
    assert cards_for(7.1, cost) == 2
    assert cards_for(70, cost) == 10


def test_tokens_cost_in_proportion_and_less_the_more_share_a_step() -> None:
    card = CARDS["H100"]
    short, long = cost_of(card, 73, 64), cost_of(card, 146, 64)
    assert long.generate_s == pytest.approx(2 * short.generate_s)
    assert long.prefill_s == short.prefill_s
    assert cost_of(card, 73, 1).generate_s > 20 * short.generate_s


def test_a_prompt_is_read_at_the_share_of_the_peak_that_is_assumed() -> None:
    # 2 x (0.7e9 x 3600 + 7.6e9 x 1065) operations over 0.4 x 989e12 a second
    assert cost_of(CARDS["H100"], 73, 64).prefill_s == pytest.approx(0.0537, rel=0.01)
