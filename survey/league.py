"""Compare every cell at hand with plain Adam and AdamW in its regime: the league's table and picture."""

from svvr.execution import stage

NAME = stage.begin("league")

import pandas as pd

from svvr import params, records, survey
from svvr.analysis import league
from svvr.report import league as picture
from svvr.report import style


def main(settings: survey.Survey) -> None:
    rows = league.rows(settings)
    records.write_bytes(survey.FOLDER / "league.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    figure = picture.draw(rows, settings.trials, params.load().compare.level)
    style.save(figure, survey.FOLDER / "league.png")


stage.run(NAME, main, survey.load)
