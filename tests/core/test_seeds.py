"""Streams by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svvr.core.seeds import budget_seeds, derive, final_seeds, tuning_seeds

names = st.lists(st.one_of(st.text(), st.integers()), min_size=1, max_size=4)


@given(names)
def test_a_seed_is_an_integer_that_a_double_keeps(stream: list[str | int]) -> None:
    seed = derive(*stream)
    assert 0 <= seed < 2**53 and int(float(seed)) == seed and seed == derive(*stream)


@given(names, names)
def test_other_names_give_other_seeds(one: list[str | int], other: list[str | int]) -> None:
    assert (derive(*one) == derive(*other)) == (one == other)


def test_names_cannot_be_confused_by_joining_or_type() -> None:
    streams = [("a", "b"), ("a/b",), ("a'/'b",), (1, 2), ("1", 2), (12,), ("a", "b", 0)]
    assert len({derive(*stream) for stream in streams}) == len(streams)


def test_a_seed_is_the_same_in_every_release() -> None:
    assert derive("initial_weights", 7) == 4329464752917489


@pytest.mark.parametrize("bad", [(), (1.5,), (True,), (None,)])
def test_a_stream_without_a_proper_name_is_refused(bad: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="random stream: got"):
        derive(*bad)  # type: ignore[arg-type]


def test_seeds_of_tuning_final_runs_and_budget_are_disjoint_and_differ_between_studies_and_roots() -> None:
    kinds = (tuning_seeds, final_seeds, budget_seeds)
    seeds = [seed for kind in kinds for root in (1, 2) for study in range(50) for seed in kind(root, study, 20)]
    assert len(seeds) == len(set(seeds)) == 6000
