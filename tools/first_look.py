"""Train a penalty at a few strengths beside the baseline, in a minute: does it do anything, and where?

`make try PENALTY=name` trains on the full data with the epochs of params.yaml, at the baseline's good learning rate, on
the same seeds at each strength. It writes nothing but the PNG that it is asked for, and gives no verdict: one learning
rate, few seeds, and the validation split alone. docs/first_look.md says how to read it.
"""

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from svvr.core import params as parameters
from svvr.core.files import Arrays
from svvr.core.messages import show
from svvr.core.params import Params, penalty_names
from svvr.core.seeds import derive
from svvr.data import make
from svvr.judge import schemas
from svvr.judge.statistics import CONFIDENCE, mean_interval
from svvr.learn import model, penalty
from svvr.learn.result import Result
from svvr.learn.spec import Run
from svvr.learn.train import initial_parameters
from svvr.learn.work import WORK
from svvr.measure import spectrum
from svvr.measure.network import UnmeasurableError
from svvr.run import evaluate
from svvr.run.stage import answer
from svvr.show import style
from tools import plan

TIME = 42.0  # seconds of training; the rest of a minute is start-up and measurement
LR = 0.002  # where no baseline was tuned
SHARES = (0.01, 0.9)  # of the gradient that is the penalty's, at the ends of a range that nobody chose
ADAM = 0.25  # root mean square over weights of Adam's step, in learning rates, in baseline runs after the first epoch
N_BATCHES = 4  # over which gradients are compared
N_STRENGTHS, N_SEEDS = (6, 3), (24, 2)  # most and fewest
NOTICED, BROKEN = 0.01, 10.0  # share of the gradient that does something; change in per cent that is too much
WIDTH = 61  # characters of the chart


@dataclass(frozen=True)
class Asked:
    """What the user wants to see.

    Attributes:
        penalty: a file in svvr/penalties.
        coupling: of the penalty to Adam: coupled or decoupled.
        span: lowest and highest strength, None for a range of the tool's choice.
        png: where to draw; None for no picture.
    """

    penalty: str
    coupling: str = "coupled"
    span: tuple[float, float] | None = None
    png: Path | None = None


@dataclass(frozen=True)
class Row:
    """What a strength does.

    Attributes:
        strength: the penalty's factor.
        n, n_failed: runs, and those that diverged.
        change: mean and interval over seeds of the change of validation loss, in per cent; None where a run failed.
        condition: geometric mean over layers and runs of the condition number, None where there is none.
        shares: of the gradient, or of the step where the penalty is decoupled, that is the penalty's: before and after
            training, in [0, 1]; None where no run is complete.
    """

    strength: float
    n: int
    n_failed: int
    change: tuple[float, float, float] | None
    condition: float | None
    shares: tuple[float, float] | None

    @property
    def does_something(self) -> bool:
        """Whether the penalty pulls noticeably, or the validation loss differs."""
        moved = self.change is not None and not self.change[1] <= 0 <= self.change[2]
        return moved or self.n_failed > 0 or (self.shares is not None and max(self.shares) >= NOTICED)

    @property
    def breaks(self) -> bool:
        """Whether a run failed, or the validation loss has surely risen too far."""
        return self.n_failed > 0 or self.change is None or self.change[1] > BROKEN


def asked(settings: Mapping[str, str]) -> Asked:
    """Read PENALTY, STRENGTH, COUPLING and PNG.

    Raises:
        ValueError: in one line, where one of them cannot be used.
    """
    name, coupling, png = settings.get("PENALTY", ""), settings.get("COUPLING") or "coupled", settings.get("PNG")
    known = [each for each in penalty_names() if each != "none"]
    if name not in known:
        expected = f"expected a file of src/svvr/penalties: {', '.join(known)}"
        raise ValueError(f"PENALTY: got {show(name or None)}, {expected}; as in: make try PENALTY=l2")
    if coupling not in ("coupled", "decoupled"):
        raise ValueError(f"COUPLING: got {show(coupling)}, expected coupled or decoupled")
    if png and (not png.endswith(".png") or not Path(png).parent.is_dir()):
        raise ValueError(f"PNG: got {show(png)}, expected a file in an existing folder, ending in .png")
    return Asked(name, coupling, _span(settings.get("STRENGTH")), Path(png) if png else None)


def _span(said: str | None) -> tuple[float, float] | None:
    if not said:
        return None
    try:
        low, high = map(float, said.split(":"))
        if parameters.SMALLEST <= low < high <= parameters.LARGEST:
            return low, high
    except ValueError:
        pass
    raise ValueError(f"STRENGTH: got {show(said)}, expected low:high, two numbers above 0, as in 0.01:1")


def learning_rate(record: Path) -> tuple[float, str]:
    """Return a good learning rate of the baseline, and in words where it comes from.

    Raises:
        RecordError: where the record of the tuned baseline cannot be used.
    """
    if not record.exists():
        return LR, f"there is no {record}"
    tuned = schemas.read(record, schemas.Tuning, "baseline")["studies"]
    return float(np.median([study["best"]["lr"] for study in tuned])), f"median of the winners in {record}"


def pulls(run: Run, flat: torch.Tensor, data: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare the penalty's gradient with the data loss's.

    Args:
        run: of which the penalty, the coupling and the size of a batch count.
        flat: (K, P) parameters of K networks.
        data: whose first batches are taken, as they lie.

    Returns:
        Two norms (K,), means over batches: of the data loss's gradient, or of Adam's step over its learning rate where
        the penalty is decoupled; and of the penalty's gradient at strength 1.

    Raises:
        ValueError: where the penalty cannot be used; in one line, with the place in its file.
    """
    sizes, size = run.sizes(data), run.batch_size
    models, ones = model.stack(flat, sizes), torch.ones(len(flat))
    add = penalty.slope(run.penalty, sizes)
    norms = []
    with torch.no_grad():
        for start in range(0, N_BATCHES * size, size):
            x, y = (torch.from_numpy(data[name][start : start + size]) for name in ("x_train", "y_train"))
            of_loss, of_penalty = (model.stack(torch.zeros_like(flat), sizes) for _ in range(2))
            activations = model.forward(models, x)
            model.backward(models, activations, model.cross_entropy(activations[-1], y)[1], of_loss)
            add(models, (x.expand(len(flat), *x.shape), y.expand(len(flat), len(y))), ones, of_penalty)
            norms.append(torch.stack([each.flat.norm(dim=1) for each in (of_loss, of_penalty)]))
    loss, of_unit = torch.stack(norms).mean(0)
    if run.coupling == "decoupled":
        loss = torch.full_like(loss, ADAM * math.sqrt(flat.shape[1]))
    return loss, of_unit


def strengths_of(params: Params, look: Asked, ratio: float) -> tuple[tuple[float, float], str]:
    """Choose the range of strengths, and say in words why.

    Args:
        params: whose arms may give the penalty a range.
        look: what is asked for.
        ratio: norm of the data loss's gradient over the penalty's at strength 1, before training.
    """
    if look.span:
        return look.span, "as asked for"
    for name, arm in params.arms.items():
        if (arm.penalty.name, arm.penalty.coupling) == (look.penalty, look.coupling) and arm.penalty.strength:
            return (arm.penalty.strength.low, arm.penalty.strength.high), f"the range of arms.{name} in params.yaml"
    if not math.isfinite(ratio):
        return (1e-3, 10.0), "by default, since the penalty's gradient before training is 0"
    low, high = (float(f"{ratio * share / (1 - share):.0e}") for share in SHARES)
    return (low, high), f"where the penalty is 1 % to 90 % of the {_whole(look)} before training"


def _whole(look: Asked) -> str:
    return "step" if look.coupling == "decoupled" else "gradient"


def fitting(penalised: float, plain: float, epochs: int) -> tuple[int, int, int]:
    """Return how many strengths, seeds and epochs fit into the time, given the seconds of a run of either kind."""
    most, fewest = N_STRENGTHS
    n = next((n for n in range(most, fewest, -1) if N_SEEDS[1] * (n * penalised + plain) <= TIME), fewest)
    per_seed = n * penalised + plain
    n_seeds = max(N_SEEDS[1], min(N_SEEDS[0], int(TIME / per_seed)))
    return n, n_seeds, max(1, min(epochs, int(epochs * TIME / (n_seeds * per_seed))))


def train(
    run: Run, strengths: Sequence[float], seeds: Sequence[int], seconds: float, data: Arrays, executor: Executor
) -> list[list[Result]]:
    """Train every strength and the baseline, some seeds at a time until the time is up.

    Args:
        run: as all are to be, but for strength and seed.
        strengths: 0 first, which is the baseline.
        seeds: at most so many, and at least two.
        seconds: that a seed is expected to take at all strengths.
        data: the splits.
        executor: where they run.

    Returns:
        For each seed, the results of the strengths.
    """
    at_once = max(N_SEEDS[1], min(2 * plan.workers_of(executor), int(TIME / 4 / seconds)))
    found: list[list[Result]] = []
    end = time.monotonic() + TIME
    while len(found) < len(seeds):
        fitting_now = int((end - time.monotonic()) / seconds)
        n = min(at_once, max(fitting_now, N_SEEDS[1] - len(found)))
        if n < 1:
            break
        started, part = time.monotonic(), seeds[len(found) : len(found) + n]
        runs = [_at(run, strength, seed) for seed in part for strength in strengths]
        results = evaluate.evaluate(runs, WORK, data, executor)
        found += [results[k : k + len(strengths)] for k in range(0, len(results), len(strengths))]
        seconds = (time.monotonic() - started) / len(part)
    return found


def _at(run: Run, strength: float, seed: int) -> Run:
    if strength:
        return replace(run, strength=strength, seed=seed)
    return replace(run, strength=0.0, seed=seed, penalty="none", coupling="coupled")


def row(run: Run, results: Sequence[Result], baseline: Sequence[Result], data: Arrays) -> Row:
    """Describe a strength.

    Args:
        run: one of its runs.
        results: of its seeds.
        baseline: of the same seeds without the penalty.
        data: the splits.
    """
    complete = [result for result in results if result.complete]
    losses = [[each.validation_loss(run.selection) for each in group] for group in (results, baseline)]
    pairs = [(a, b) for a, b in zip(*losses, strict=True) if a is not None and b is not None]
    change = None
    if len(pairs) == len(results):
        effects = [math.log(a / b) for a, b in pairs]
        mean, low, high = (100 * math.expm1(min(each, 99.0)) for each in mean_interval(effects, CONFIDENCE))
        change = mean, low, high
    return Row(
        run.strength,
        len(results),
        len(results) - len(complete),
        change,
        condition(run, complete, data),
        shares(run, complete, data) if run.strength and complete else None,
    )


def condition(run: Run, complete: Sequence[Result], data: Arrays) -> float | None:
    """Return the geometric mean of the condition numbers of all weight matrices, None where there is none."""
    sizes = run.sizes(data)
    try:
        found = [spectrum.conditioning(spectrum.spectra(each.weights, each.weights, sizes)) for each in complete]
    except UnmeasurableError:  # a matrix of zeros
        return None
    return math.exp(sum(found) / len(found)) if found else None


def shares(run: Run, complete: Sequence[Result], data: Arrays) -> tuple[float, float]:
    """Return the penalty's share of the gradient, or of the step, before and after training: means over some runs."""
    some = complete[: N_SEEDS[1]]
    after = torch.stack([torch.from_numpy(each.weights) for each in some])
    before = initial_parameters([replace(run, seed=seed) for seed in range(len(some))], data)
    found = []
    for flat in (before, after):
        loss, unit = pulls(run, flat, data)
        found.append(float((run.strength * unit / (run.strength * unit + loss)).mean()))
    return found[0], found[1]


def table(rows: Sequence[Row], whole: str) -> str:
    """Return the rows as lines of text, the baseline's first; the shares are those of the whole (gradient or step)."""
    n, level = rows[0].n, f"{100 * CONFIDENCE:g} %"
    head = ("strength", "validation loss", f"{level} interval", "condition", "penalty's share", f"of the {whole}")
    under = ("", "changes by", f"over {n} seeds", "number", "before", "after training")
    lines = [head, under, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    if row.change is None:
        effect = ("failed", f"{row.n_failed} of {row.n} runs" if row.n_failed else "the baseline's")
    elif row.strength:
        effect = (f"{_percent(row.change[0])} %", f"{_percent(row.change[1])} to {_percent(row.change[2])}")
    else:
        effect = ("baseline", "")
    condition = "-" if row.condition is None else f"{row.condition:.3g}"
    parts = [f"{100 * share:.{'0f' if share > 0.1 else '2g'}} %" for share in row.shares or ()] or ["-", "-"]
    return (f"{row.strength:.3g}", *effect, condition, *parts)


def _percent(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+.0f}" if value < 1000 else "> +999"


def chart(rows: Sequence[Row]) -> str:
    """Draw the changes of validation loss with their intervals in characters; what lies outside ends in > or <."""
    drawn = [row.change for row in rows if row.change and row.strength]
    reach = min(50.0, max([1.0, *(abs(end) for change in drawn for end in change[:2]), *(c[2] for c in drawn)]))
    zero, width = WIDTH // 2, max(len(f"{row.strength:.3g}") for row in rows)
    lines = [f"{'':{width}}  {-reach:<+{zero}.3g}0{reach:>+{zero}.3g} %"]
    for row in rows:
        if not row.strength:
            continue
        cells = [" "] * WIDTH
        cells[zero] = "|"
        if row.change:
            mean, low, high = (round(zero + zero * max(-1.0, min(1.0, end / reach))) for end in row.change)
            cells[low : high + 1] = "-" * (high + 1 - low)
            cells[zero] = "|" if not low <= zero <= high else "+"
            cells[low] = "<" if row.change[1] < -reach else cells[low]
            cells[high] = ">" if row.change[2] > reach else cells[high]
            cells[mean] = "o" if abs(row.change[0]) <= reach else cells[mean]
        else:
            cells[zero + 2 : zero + 8] = "failed"
        lines.append(f"{row.strength:>{width}.3g}  {''.join(cells)}")
    return "\n".join(line.rstrip() for line in lines)


def worth_tuning(rows: Sequence[Row]) -> str:
    """Say which strengths are worth tuning.

    From the lowest to the highest that does something and breaks nothing, and half a step further, since between two
    strengths nothing is known.
    """
    tried = [row for row in rows if row.strength]
    good = [row.strength for row in tried if row.does_something and not row.breaks]
    if not good:
        if not any(row.does_something for row in tried):
            return f"worth tuning: nothing happens up to {tried[-1].strength:.3g}; look higher"
        return f"worth tuning: where something happens, it breaks; look below {tried[0].strength:.3g} or more closely"
    half = (tried[-1].strength / tried[0].strength) ** (0.5 / (len(tried) - 1))
    ends = [("lower", good[0], tried[0].strength), ("higher", good[-1], tried[-1].strength)]
    further = " or ".join(side for side, end, last in ends if end == last)
    span = f"{{low: {good[0] / half:.1g}, high: {good[-1] * half:.1g}}}"
    return f"worth tuning: strength: {span}" + (f"; perhaps {further}, which was not tried" if further else "")


@style.fixed()
def picture(rows: Sequence[Row], name: str, path: Path) -> None:
    """Draw the change of validation loss and the condition number against strength into a PNG file."""
    figure, (left, right) = style.panels(1, 2, 3.2)
    drawn = [(row.strength, *row.change) for row in rows if row.change and row.strength]
    for strength, mean, low, high in drawn:
        left.plot([strength, strength], [low, high], color=style.ARMS["regularized"])
        left.plot(strength, mean, "o", color=style.ARMS["regularized"])
    style.limits(left, [each for _, mean, low, high in drawn for each in (mean, max(low, -100), min(high, mean + 100))])
    left.axhline(0, color=style.GREY, linewidth=0.8)
    left.set_ylabel("change of validation loss (%)")
    known = [(row.strength, row.condition) for row in rows if row.condition and row.strength]
    right.plot([x for x, _ in known], [y for _, y in known], "o-", color=style.ARMS["regularized"], label=name)
    if rows[0].condition:
        right.axhline(rows[0].condition, color=style.ARMS["baseline"], label="baseline")
    if known or rows[0].condition:
        right.set_yscale("log")
        right.legend()
    right.set_ylabel("condition number")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlim(rows[1].strength / 1.5, 1.5 * rows[-1].strength)
        ax.set_xlabel(style.STRENGTH)
    intervals = f"means and {100 * CONFIDENCE:g} % intervals over {rows[0].n} seeds"
    figure.suptitle(f"A first look at {name}: {intervals}; no verdict")
    style.save(figure, path)


def main(look: Asked, params: Params) -> None:
    """Print a first look at a penalty.

    Raises:
        ValueError: where the penalty or a record cannot be used.
    """
    data, _ = make.splits(params.data.seed, 10, params.data.test_seed)
    rate, why = learning_rate(Path("metrics/tune/baseline.json"))
    run = Run.of(params, look.penalty, {"lr": rate, "strength": 1.0}, 0, coupling=look.coupling)
    loss, unit = (float(norm) for norm in pulls(run, initial_parameters([run], data), data))
    span, because = strengths_of(params, look, loss / unit if unit else math.inf)
    plain = _at(run, 0.0, 0)
    with evaluate.workers() as executor:
        speed = plan.probe([plain, replace(run, strength=math.sqrt(span[0] * span[1]))], data, executor)
        seconds = speed.run(run, 0), speed.run(plain, 0)
        n, n_seeds, epochs = fitting(*seconds, params.training.epochs)
        share = epochs / params.training.epochs
        per_seed = share * (n * seconds[0] + seconds[1])
        answer("try", f"{look.penalty}, {look.coupling}: {n} strengths, {span[0]:g} to {span[1]:g}: {because}")
        answer("try", f"learning rate {rate:.3g}: {why}; Adam, {epochs} epochs")
        answer("try", f"at strength 1 the penalty's pull before training is {unit / loss:.3g} times {_loss(look)}")
        answer("try", f"up to {n_seeds} seeds, about {n_seeds * per_seed:.0f} s")
        strengths = [0.0, *np.geomspace(*span, n).tolist()]
        seeds = [derive(params.seed, "first_look", index) for index in range(n_seeds)]
        results = train(replace(run, epochs=epochs), strengths, seeds, per_seed, data, executor)
    by_strength = list(zip(*results, strict=True))
    rows = [
        row(_at(run, strength, 0), found, by_strength[0], data)
        for strength, found in zip(strengths, by_strength, strict=True)
    ]
    answer("try", f"\n{table(rows, _whole(look))}\n\n{chart(rows)}\n\n{worth_tuning(rows)}")
    n_runs, whole = plan.one_more_arm(params, run, speed)
    answer("try", f"the full comparison of one more arm: {n_runs} runs, about {plan.spoken(whole)} here")
    if look.png:
        picture(rows, look.penalty, look.png)
        answer("try", f"drawn: {look.png}")
    answer("try", "no verdict: a first look")


def _loss(look: Asked) -> str:
    return "Adam's step" if look.coupling == "decoupled" else "the data loss's gradient"


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main(asked(os.environ), parameters.load(Path("params.yaml")))
    except BrokenExecutor:
        sys.exit("try: a worker was killed, perhaps for want of memory; run it again")
    except (ValueError, OSError) as error:
        if os.environ.get("SVVR_DEBUG"):
            raise
        sys.exit(f"try: {error}")
    except KeyboardInterrupt:
        os.write(2, b"try: stopped\n")
        os._exit(130)  # workers would finish their runs
