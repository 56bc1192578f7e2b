"""A first look at a penalty in a minute: does it do anything, and at which strengths does it break?"""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from svvr import diagnostics
from svvr.analysis.statistics import CONFIDENCE, mean_interval
from svvr.data import make
from svvr.execution import work, workers
from svvr.params import PENALTIES, Params, load
from svvr.records import Arrays, read_rows
from svvr.report import style
from svvr.seeds import derive
from svvr.training import loop, model, penalty
from svvr.training.run import Result, Run

SECONDS, STRENGTHS, SEEDS = 40.0, (3, 6), (2, 24)  # of training; fewest and most
LIMITS = 1e-12, 1e12  # of a strength in params.yaml
SHARES = 0.01, 0.9  # the penalty's share of the gradient at the ends of the default range
ACTS, BREAKS = 0.01, 10.0  # a share that counts; a rise of the loss, in per cent, that is too much
ADAM_STEP = 0.25  # root mean square of Adam's step over the learning rate, in baseline runs after the first epoch
FORMS = {"strength": "{:.3g}", "failed": "{:.0f}", "change": "{:+.2f} %", "low": "{:+.2f} %", "high": "{:+.2f} %"}
FORMS |= {"condition": "{:.3g}", "before": "{:.1%}", "after": "{:.1%}"}
USAGE = "PENALTY=name [STRENGTH=low:high] [COUPLING=decoupled] [PNG=look.png] [HYPERPARAMETER=number ...]"


def asked(words: Sequence[str], params: Params, lr: float) -> tuple[Run, list[float], str]:
    """Read `KEY=value` words: the run at strength 1, the range of strengths or [], the picture's path or nothing."""
    said = {key: value for key, _, value in (word.partition("=") for word in words) if value}
    name, coupling, png = (said.pop(*each) for each in (("PENALTY", ""), ("COUPLING", "coupled"), ("PNG", "")))
    known = sorted(path.stem for path in PENALTIES.glob("[!_.]*.py") if path.stem != "none")
    try:
        span = [float(end) for end in said.pop("STRENGTH").split(":")] if "STRENGTH" in said else []
        own = {key: json.loads(value) for key, value in said.items()}
        in_order = not span or (len(span) == 2 and LIMITS[0] <= span[0] < span[1] <= LIMITS[1])
        if name not in known or coupling not in ("coupled", "decoupled") or not in_order:
            raise ValueError
    except ValueError:
        expected = f"{USAGE}\nstrengths: from {LIMITS[0]:g} to {LIMITS[1]:g}; penalties: {', '.join(known)}"
        raise ValueError(f"got {' '.join(words) or 'nothing'}\nexpected {expected}") from None
    names = {each.upper(): each for each in penalty.load(name).hyperparameters}
    fixed = tuple(sorted((names.get(key, key), value) for key, value in own.items()))
    run = Run.of_arm(params, next(iter(params.arms)), {"lr": lr}, 0)
    return replace(run, penalty=name, strength=1.0, coupling=coupling, fixed=fixed), span, png


@torch.no_grad()
def norms(run: Run, flat: Tensor, data: Arrays) -> tuple[Tensor, Tensor]:
    """Return norms (K,) at networks (K, P): of the data loss's gradient, decoupled of Adam's step; of the penalty's."""
    sizes, found = run.sizes(data), []
    models, add = model.stack(flat, sizes), penalty.gradient(run.penalty, sizes, dict(run.fixed), {})
    splits = (torch.split(torch.from_numpy(data[name]), run.batch_size)[:4] for name in ("x_train", "y_train"))
    for x, y in zip(*splits, strict=True):
        of_loss, of_penalty = (model.stack(torch.zeros_like(flat), sizes) for _ in range(2))
        activations = model.forward(models, x)
        model.backward(models, activations, model.cross_entropy(activations[-1], y)[1], of_loss)
        add(models, (x.expand(len(flat), *x.shape), y.expand(len(flat), *y.shape)), torch.ones(len(flat)), of_penalty)
        found.append(torch.stack([each.flat.double().norm(dim=1) for each in (of_loss, of_penalty)]))
    loss, unit = torch.stack(found).mean(0)
    if run.coupling == "decoupled" and run.optimizer == "adam":
        loss = torch.full_like(loss, ADAM_STEP * math.sqrt(flat.shape[1]))
    return loss, unit


def default_span(ratio: float) -> list[float]:
    """Return the strengths at which the penalty is SHARES of the gradient, from its norm over the data loss's."""
    span = [float(f"{share / (1 - share) / ratio:.0e}") for share in SHARES] if ratio else [1e-3, 10.0]
    if not LIMITS[0] <= span[0] < span[1] <= LIMITS[1]:
        raise ValueError(f"got a penalty whose gradient is {ratio:.0e} times the data loss's, expected a usual scale")
    return span


def seconds(run: Run, session: work.Session, data: Arrays) -> float:
    """Return the seconds that an epoch of a run takes while all cores are busy; a slow one is timed alone."""
    taken = 0.0
    for n in (1, 1, work.CHUNK * workers.n_workers()):  # the first also starts a worker and loads the penalty
        if n == 1 or taken < 1:
            started = time.monotonic()
            session([replace(run, seed=seed, epochs=1) for seed in range(n)], work.TRAIN, data)
            taken = (time.monotonic() - started) / n
    return taken


def fit(penalised: float, plain: float, epochs: int) -> tuple[int, int, int]:
    """Return how many strengths, seeds and epochs take SECONDS, from the seconds of an epoch of either kind."""
    n = max(STRENGTHS[0], min(STRENGTHS[1], int((SECONDS / SEEDS[0] / epochs - plain) / penalised)))
    seeds = max(SEEDS[0], min(SEEDS[1], int(SECONDS / epochs / (n * penalised + plain))))
    return n, seeds, max(1, min(epochs, int(SECONDS / seeds / (n * penalised + plain))))


def describe(runs: Sequence[Run], results: Sequence[Result], baseline: Sequence[Result], data: Arrays) -> list[float]:
    """Return a strength's figures by the keys of FORMS, NaN where there is none."""
    run, complete, groups = runs[0], [each for each in results if each.complete], (results, baseline)
    condition, change, shares = math.nan, (math.nan, math.nan, math.nan), [math.nan, math.nan]
    with suppress(diagnostics.UnmeasurableError):  # weights of 0
        layers = [diagnostics.spectra(each.weights, each.weights, run.sizes(data))["ln_condition"] for each in complete]
        condition = math.exp(np.mean(layers)) if layers else math.nan
    if run.strength and complete:
        trained = torch.stack([torch.from_numpy(each.weights) for each in complete[: SEEDS[0]]])
        pairs = [norms(run, flat, data) for flat in (loop.initial_parameters(runs[: SEEDS[0]], data), trained)]
        shares = [float((run.strength * unit / (run.strength * unit + other)).mean()) for other, unit in pairs]
    if run.strength and all(each.complete for each in (*results, *baseline)):
        losses = [[each.curves["validation_loss"][each.selected_epoch - 1] for each in group] for group in groups]
        change = mean_interval(np.subtract(*np.log(losses)), CONFIDENCE)
    return [run.strength, len(results) - len(complete), *100 * np.expm1(np.minimum(change, 99)), condition, *shares]


def worth_tuning(rows: pd.DataFrame) -> str:
    """Say at which strengths the penalty acts and breaks nothing, half a step further at both ends; or why at none."""
    shares, strengths = rows[["before", "after"]], rows["strength"]
    breaks = rows["change"].isna() | (rows["low"] > BREAKS)
    acts = breaks | (rows["low"] > 0) | (rows["high"] < 0) | (shares.max(axis=1) >= ACTS)
    good = strengths[acts & ~breaks]
    if (shares == 0).all(axis=None):
        return "worth tuning: nothing, the penalty's gradient is 0 at every weight tried"
    broken = f"; from {strengths[breaks].min():.3g} on runs fail or the loss rises by 10 %" if breaks.any() else ""
    if good.empty:
        nothing = f"nothing happens up to {strengths.max():.3g}; look higher"
        return f"worth tuning: {f'nothing that was tried{broken}; look below that' if acts.any() else nothing}"
    half = (strengths.max() / strengths.min()) ** (0.5 / (len(rows) - 1))
    ends = {"lower": good.min() == strengths.min(), "higher": good.max() == strengths.max()}
    further = " or ".join(side for side, reached in ends.items() if reached)
    span = f"strength: {{low: {good.min() / half:.1g}, high: {good.max() * half:.1g}}}"
    return f"worth tuning: {span}{broken}" + (f"; perhaps {further}, which was not tried" if further else "")


@style.fixed()
def picture(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the change of validation loss and the condition number against strength, the baseline dashed."""
    figure, tried = style.figure(3.2, title), rows[1:]
    labels = {"change": "change of validation loss (%)", "condition": "condition number"}
    for ax, (key, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        ax.plot(tried["strength"], tried[key], "o-", color=style.COLORS[1])
        ax.axhline(0 if key == "change" else rows[key].iloc[0], color=style.COLORS[0], linestyle="--")
        ax.set(xlabel="penalty strength", ylabel=label, xlim=tried["strength"].iloc[[0, -1]] * [0.7, 1.4])
        style.log_axis(ax, "x")
    figure.axes[0].vlines(tried["strength"], tried["low"], tried["high"], color=style.COLORS[1])
    figure.axes[0].set_ylim(style.window([0, *tried["change"]], [*tried["low"], *tried["high"]]))
    style.log_axis(figure.axes[1], "y")
    return figure


def main(params: Params) -> None:
    """Print a first look."""
    few = {"n_test": 10} if params.data.name == "mnist1d" else {}
    data = make(params.data.name, dict(params.data.settings()) | few)
    record = Path(f"metrics/tune/{next(iter(params.arms))}.json")
    trials = read_rows(record, "lr", "winner") if record.exists() else pd.DataFrame({"lr": [0.002], "winner": [True]})
    run, span, png = asked(sys.argv[1:], params, float(trials.loc[trials["winner"], "lr"].median()))
    other, unit = (float(norm) for norm in norms(run, loop.initial_parameters([run], data), data))
    span = span or default_span(unit / other)
    plain = replace(run, strength=0.0, penalty="none", coupling="coupled", fixed=())
    with work.session("try", 0, run.device, keep=False) as session:
        penalised = seconds(replace(run, strength=math.sqrt(span[0] * span[1])), session, data)
        n, n_seeds, epochs = fit(penalised, seconds(plain, session, data), run.epochs)
        kinds = [plain, *(replace(run, strength=float(strength)) for strength in np.geomspace(span[0], span[1], n))]
        seeds = [derive(params.seed, "first_look", index) for index in range(n_seeds)]
        runs = [replace(kind, epochs=epochs, seed=seed) for kind in kinds for seed in seeds]
        session.bar.reset(len(runs))
        results = session(runs, work.TRAIN, data)
    parts = [slice(start, start + n_seeds) for start in range(0, len(runs), n_seeds)]
    figures = [describe(runs[part], results[part], results[parts[0]], data) for part in parts]
    rows = pd.DataFrame(figures, columns=list(FORMS))
    text = rows.to_string(index=False, na_rep="-", formatters={key: form.format for key, form in FORMS.items()})
    about = f"{run.penalty}, {run.coupling}; {run.optimizer}, learning rate {run.lr:.3g}"
    print(f"{about}, {n_seeds} seeds, {epochs} epochs\nchange of validation loss with its {style.level(CONFIDENCE)};")
    print("condition number; the penalty's share of the gradient before and after training; no verdict")
    print(f"\n{text}\n\n{worth_tuning(rows[1:])}")
    n = params.tuning.studies * (params.tuning.trials * params.tuning.seeds_per_trial + params.final.seeds)
    n += params.budget.replicates * params.budget.points * params.budget.seeds
    print(f"the full comparison of one more arm: {n} runs, about {n * run.epochs * penalised / 60:.0f} min here")
    if png:
        style.save(picture(rows, f"{run.penalty}: a first look, {n_seeds} seeds"), Path(png))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: (os.write(2, b"try: stopped\n"), os._exit(130)))
    torch.set_num_threads(1)
    try:
        main(load())
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"try: {error}")
