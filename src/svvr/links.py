"""The four links of the hypothesis: the only list of them.

Every figure is a logarithm, so that a difference between two runs is the ratio of what it measures. The claim: evenly
spread singular values -> better conditioning -> a smoother loss landscape -> steadier gradients -> better
generalisation. The last is the question itself and stands first; the three before it are measured on its runs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A link of the chain, with a figure that falls if the hypothesis holds."""

    name: str  # its key in records
    words: str  # its name in a sentence
    figure: str  # what changes by so many per cent
    axis: str  # label of an axis that shows the figure itself, with its unit


GENERALISATION = Link("generalisation", "generalisation", "test loss", "test loss (nats per example)")
MEASURED = (
    Link("conditioning", "conditioning", "condition number", "ln of the condition number (mean over layers)"),
    Link("smoothness", "smoothness", "top Hessian eigenvalue", "ln of the top Hessian eigenvalue (nats per weight²)"),
    Link(
        "gradient_stability",
        "gradient stability",
        "gradient norm's coefficient of variation",
        "ln of the gradient norm's coefficient of variation",
    ),
)  # these share one error rate
LINKS = (GENERALISATION, *MEASURED)
BY_NAME = {link.name: link for link in LINKS}
