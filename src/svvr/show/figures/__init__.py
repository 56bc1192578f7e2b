"""The figures: records in, Matplotlib figures out, drawn in a fixed style whatever the user's settings.

Where the source is `tables.Source`, it is the folder of the metrics, as in `figures.comparison("metrics")`, or records
that were read already. Effects, intervals and verdicts are read from the summary.
"""

from svvr.show import style
from svvr.show.figures.budget import draw as budget
from svvr.show.figures.comparison import draw as comparison
from svvr.show.figures.dose_response import draw as dose_response
from svvr.show.figures.links import draw as links
from svvr.show.figures.paired import draw as paired
from svvr.show.figures.replication import draw as replication
from svvr.show.figures.search import draw as search
from svvr.show.figures.spectra import draw as spectra

save = style.save

__all__ = ["budget", "comparison", "dose_response", "links", "paired", "replication", "save", "search", "spectra"]
