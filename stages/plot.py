"""Draw the figures from the finished records."""

from svvr.execution import stage

NAME = stage.begin("plot")

from svvr.params import Params
from svvr.report import figures, style


def main(params: Params) -> None:
    for name, figure in figures.draw(params).items():
        style.save(figure, f"plots/{name}.png")


stage.run(NAME, main)
