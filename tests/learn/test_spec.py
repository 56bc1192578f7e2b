"""From params and knobs to runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from svvr.core.params import Optimizer, Params, load
from svvr.learn import work
from svvr.learn.spec import Run

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


def changed(section: str, **values: object) -> Params:
    part = getattr(PARAMS, section)
    return PARAMS.model_copy(update={section: part.model_copy(update=values)})


def test_every_setting_reaches_the_run() -> None:
    params = changed("training", epochs=3, batch_size=7, device="cuda").model_copy(update={"selection": "best_epoch"})
    assert Run.of(params, "sv_variance", {"lr": 0.1, "strength": 0.2, "weight_decay": 0.3}, 5) == Run(
        seed=5, lr=0.1, weight_decay=0.3, penalty="sv_variance", strength=0.2, hidden=(128, 128), epochs=3,
        batch_size=7, device="cuda", selection="best_epoch",
    )  # fmt: skip


def test_knobs_that_are_not_tuned_are_off() -> None:
    run = Run.of(PARAMS, "none", {"lr": 0.1}, 5)
    assert (run.weight_decay, run.strength, run.penalty, run.selection) == (0, 0, "none", "last_epoch")


@pytest.mark.parametrize(
    "penalty,knobs",
    [
        ("none", {}),
        ("none", {"lr": 0.1, "strength": 0.1}),
        ("sv_variance", {"lr": 0.1}),
        ("sv_variance", {"strength": 0.1}),
    ],
)
def test_knobs_that_do_not_belong_to_the_penalty_are_refused(penalty: str, knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"knobs of a run: got \{.*\}, expected lr, and a strength above 0 with a pen"):
        Run.of(PARAMS, penalty, knobs, 5)


def test_the_dose_response_differs_in_strength_and_setting_alone() -> None:
    runs, settings = work.doses(PARAMS), PARAMS.dose_response
    n = len(settings.strengths) * settings.seeds
    for setting, own in zip(settings.settings, (runs[:n], runs[n:]), strict=True):
        assert [run.strength for run in own[:: settings.seeds]] == list(settings.strengths)
        assert {(run.lr, run.weight_decay) for run in own} == {(setting.lr, setting.weight_decay)}
        assert {run.penalty for run in own if run.strength == 0} == {"none"}
    assert len({run.seed for run in runs}) == settings.seeds and len(runs) == 2 * n


def test_the_third_row_of_the_replication_continues_from_the_first() -> None:
    rows = work.replication(PARAMS)
    assert list(rows) == ["baseline", "regularized_fresh", "regularized_continued"]
    for trained, fresh, continued in zip(*rows.values(), strict=True):
        assert trained.seed == fresh.seed == continued.seed
        assert continued.start == trained and fresh.start is None
        assert (fresh.lr, fresh.strength) == (continued.lr, continued.strength) == (0.0021, 0.0422)
    assert len({run.seed for run in rows["baseline"]}) == PARAMS.replicate.seeds


def test_an_arm_s_optimizer_and_coupling_reach_the_run() -> None:
    arm = PARAMS.arms["regularized"]
    changed_arm = arm.model_copy(
        update={
            "optimizer": Optimizer(name="sgd", momentum=0.9),
            "penalty": arm.penalty.model_copy(update={"coupling": "decoupled"}),
        }
    )
    params = PARAMS.model_copy(update={"arms": PARAMS.arms | {"regularized": changed_arm}})
    knobs = {"lr": 0.1, "strength": 0.2}
    assert Run.of_arm(params, "regularized", knobs, 5) == replace(
        Run.of(PARAMS, "sv_variance", knobs, 5), optimizer="sgd", momentum=0.9, coupling="decoupled"
    )
    assert Run.of_arm(PARAMS, "regularized", knobs, 5) == Run.of(PARAMS, "sv_variance", knobs, 5)


def test_runs_of_other_methods_are_not_stacked() -> None:
    run = Run(0, 0.1, penalty="sv_variance", strength=0.1)
    others = [{"optimizer": "sgd"}, {"coupling": "decoupled"}, {"momentum": 0.5}, {"strength": 0.0}, {"epochs": 3}]
    assert len({run.stackable(), *(replace(run, **each).stackable() for each in others)}) == 6  # type: ignore[arg-type]
