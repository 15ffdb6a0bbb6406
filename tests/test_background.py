"""The timeline: figure and list hold the same works, each in the year in which it was first public."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
from pybtex.database import parse_file

from imgbook import background_figures

BOOK = Path(__file__).parents[1] / "book"


def test_years_are_those_of_the_bibliography():
    works = parse_file(BOOK / "references.bib").entries
    for milestone in background_figures.MILESTONES:
        fields = works[milestone.key].fields
        preprint = re.match(r"(\d\d)\d\d\.\d+", fields.get("eprint", ""))
        year = 2000 + int(preprint[1]) if preprint else int(fields["year"])
        assert milestone.year == year, f"{milestone.key}: {milestone.year}, public since {year}"


def test_the_list_below_the_figure_is_the_figure():
    cells = json.loads((BOOK / "01-background.ipynb").read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    listed = re.findall(r"^- (\d{4}): (.+?) \{cite:p\}`(\w+)`$", text, re.M)
    assert listed == [(str(m.year), m.words, m.key) for m in background_figures.MILESTONES]


def test_the_timeline_is_drawn_in_order_with_every_entry():
    years = [m.year for m in background_figures.MILESTONES]
    assert years == sorted(years)
    fig = background_figures.draw_timeline()
    texts = {text.get_text() for text in fig.axes[0].texts}
    assert {m.words for m in background_figures.MILESTONES} | set(background_figures.KINDS) <= texts
    plt.close(fig)
