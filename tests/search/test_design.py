"""The random design: reproducible, even in every coordinate, shared by all arms."""

import numpy as np
import pytest
from scipy import stats

from svvr.search import design

RANGES = {"lr": (1e-4, 1e-1), "weight_decay": (1e-2, 3.0), "strength": (1e-3, 10.0)}


@pytest.mark.parametrize("n", [1, 48, 64])
def test_points_are_even_in_every_coordinate(n: int) -> None:
    found = design.points(n, 5)
    assert found.shape == (n, 3) and (found >= 0).all() and (found < 1).all()
    cells = 1 << (n.bit_length() - 1)  # the largest power of two among the first n points
    for coordinate in found[:cells].T:
        assert sorted(np.floor(coordinate * cells).astype(int)) == list(range(cells))


def test_a_seed_scrambles_independently_and_gives_the_same_points_again() -> None:
    assert np.array_equal(design.points(64, 5), design.points(64, 5))
    one, other = design.points(64, 5), design.points(64, 6)
    assert not np.isclose(one, other).any()
    for index in (0, 63):  # over the seeds each point is uniform, whatever its place
        drawn = np.array([design.points(64, seed)[index] for seed in range(200)])
        assert all(stats.kstest(coordinate, "uniform").pvalue > 1e-3 for coordinate in drawn.T)


def test_an_arm_reads_its_own_coordinates_so_that_arms_are_paired_point_by_point() -> None:
    for point in design.points(8, 1):
        whole = design.knobs(point, RANGES)
        assert list(whole) == ["lr", "weight_decay", "strength"]
        for knob, (low, high) in RANGES.items():
            assert low <= whole[knob] < high
        alone = design.knobs(point, {"strength": RANGES["strength"], "lr": RANGES["lr"]})
        assert alone == {"lr": whole["lr"], "strength": whole["strength"]}


def test_a_range_s_ends_and_its_middle() -> None:
    assert design.knobs(np.zeros(3), RANGES) == {"lr": 1e-4, "weight_decay": 1e-2, "strength": 1e-3}
    assert design.knobs(np.full(3, 0.5), RANGES)["strength"] == pytest.approx(0.1)
