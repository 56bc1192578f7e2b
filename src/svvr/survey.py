"""survey/params.yaml, typed: regimes and penalties of the league, and the settings of each of its cells."""

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from svvr.params import Budget, Count, Hyperparameters, Known, Name, Params, Range, Section, Seed, said
from svvr.records import ParamsError, read_yaml

FOLDER = Path("survey")


class Entry(Hyperparameters):
    """`penalties.NAME`: its hyperparameters, and whether it is tried with tuned decay too."""

    decay: bool = False


class Survey(Section):
    """All of survey/params.yaml, a section an attribute."""

    seed: Seed
    trials: Count
    design: Budget
    regimes: dict[Name, dict[Literal["data", "model", "training"], dict[str, Any]]]
    penalties: Annotated[dict[Known, Entry], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        most = (self.design.replicates - 1) * self.design.points * self.design.seeds  # of the jackknife
        if self.trials > most:
            raise ValueError(f"trials: got {self.trials}, expected at most {most}, (replicates - 1) * points * seeds")
        return self

    def params(self, regime: str, penalty: str) -> Params:
        """Return the settings of a cell: an arm without decay, and one with it where asked; ParamsError if refused."""
        found, entry = read_yaml(Path("params.yaml")), self.penalties[penalty]
        for section, own in self.regimes[regime].items():
            found[section] = own if "name" in own else found[section] | own
        settings = entry.model_dump(exclude={"decay"}, exclude_none=True)
        tune = ["lr", *(name for name, value in settings.items() if isinstance(getattr(entry, name), Range))]
        arm = {"penalty": {"name": penalty, **settings}}
        found["arms"] = {"plain": {"tune": tune, **arm}, "decay": {"tune": [*tune, "weight_decay"], **arm}}
        found["compare"]["contrasts"] = []
        found |= {"seed": self.seed, "budget": self.design.model_dump(), "penalties": {}}
        if not entry.decay:
            del found["arms"]["decay"]
        try:
            return Params.model_validate(found)
        except ValidationError as error:
            raise ParamsError(f"{FOLDER / 'params.yaml'}, {regime} and {penalty}: {said(error)}") from None


def digest(params: Params) -> str:
    """Return a hash of what a cell's runs depend on, beside code: which runs may be compared."""
    read = {"seed", "data", "model", "training", "selection", "budget", "arms"}
    said = params.model_dump_json(include=dict.fromkeys(read, True) | {"tuning": {"space"}})
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def load() -> Survey:
    """Read and validate survey/params.yaml. Raises ParamsError."""
    path = FOLDER / "params.yaml"
    try:
        return Survey.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ParamsError(f"{path}: {said(error)}") from None


def record(regime: str, penalty: str) -> Path:
    """Return where a cell's runs are written."""
    return FOLDER / "cells" / f"{regime}-{penalty}.json"


def check(regime: str, penalty: str) -> None:
    """Exit with one message where the cells of these names, or of all for an empty one, cannot be run."""
    try:
        settings = load()
        for key, name, known in (("REGIME", regime, settings.regimes), ("PENALTY", penalty, settings.penalties)):
            if name and name not in known:
                raise ParamsError(f"{key}: got {name}, expected one of {', '.join(known)} in {FOLDER / 'params.yaml'}")
        for each in [regime] if regime else settings.regimes:
            for own in ("none", penalty) if penalty else settings.penalties:
                settings.params(each, own)
    except ParamsError as error:
        sys.exit(f"survey: {error}")
