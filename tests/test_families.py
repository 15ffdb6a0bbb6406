"""The map and tables of the families of models: links lead somewhere, and numbers are those of the records."""

import json
import re

import matplotlib.pyplot as plt
import myst_blocks
import numpy as np
import pytest
from sources import BOOK, lines

from imgbook import families, plotting, records

LINK = re.compile(r"\[([^\]]+)\]\(([^()\s]+)\)")
TABLES = {"gives": families.gives, "gives_up": families.gives_up}


def links() -> list[tuple[str, str]]:
    cells = [cell for table in TABLES.values() for row in table()[1] for cell in row]
    return [found for cell in [*cells, families.note()] for found in LINK.findall(cell)]


@pytest.mark.parametrize("goal", sorted({goal for _, goal in links()}))
def test_every_link_leads_to_a_page_and_a_heading_or_figure(goal):
    page, _, anchor = goal.partition("#")
    assert page.endswith(".html")
    path = BOOK / page.replace(".html", ".ipynb")
    assert path.exists()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    figures = {c["metadata"].get("mystnb", {}).get("figure", {}).get("name") for c in cells}
    headings = myst_blocks.anchors("\n".join(line for _, line in lines(path)))
    assert not anchor or anchor in {*headings, *figures}


def test_numbers_are_those_of_the_records():
    """Each by its own arithmetic from the file, not by the module's."""
    _, rows = families.gives_up()
    cells = {row[0]: row[1:] for row in rows}
    expected = {
        "VAE": ("vae", [("negative_elbo", 1, 1), ("recognised", 100, 1), ("frechet", 1, 2), ("recall", 1, 2)]),
        "GAN": ("gan", [("recognised", 100, 1), ("frechet", 1, 2), ("recall", 1, 2)]),
    }  # fmt: skip
    for family, (name, measures) in expected.items():
        values = json.loads((records.folder() / f"{name}.json").read_text())["values"]
        shown = [words for cell in cells[family][1:] for words, _ in LINK.findall(cell)]
        found = [
            f"{scale * np.mean(values[m]):.{digits}f} ± {scale * np.std(values[m], ddof=1):.{digits}f}"
            for m, scale, digits in measures
        ]
        assert shown == found
    note = families.note()
    for name, measure in (("flow", "near"), ("cnn-mnist", "accuracy")):
        values = json.loads((records.folder() / f"{name}.json").read_text())["values"][measure]
        assert f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} %" in note
        assert f"{len(values)} seeds" in note


def test_what_is_compared_has_one_preset_and_one_set_of_data():
    vae, gan = records.load("vae"), records.load("gan")
    for key in ("preset", "data_hash", "judge_hash"):
        assert vae[key] == gan[key]
    assert vae["values"]["floor"] == gan["values"]["floor"]
    assert f"preset {vae['preset']}" in families.note()


def test_without_a_measurement_the_cell_says_so():
    _, rows = families.gives_up()
    for row in rows:
        for cell in row[2:]:
            assert LINK.search(cell) or cell in (families.NOT_MEASURED, "none")
    autoregressive = next(row for row in rows if row[0] == "autoregressive")
    assert set(autoregressive[2:]) == {families.NOT_MEASURED}


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_as_wide_as_the_header_and_name_the_families_of_the_map(table):
    header, rows = TABLES[table]()
    assert {len(row) for row in rows} == {len(header)}
    names = {family.name for family in families.FAMILIES}
    assert {row[0] for row in rows} <= names
    if table == "gives":
        assert {row[0] for row in rows} == names


def test_the_map_says_what_the_table_says():
    _, rows = families.gives()
    cells = {row[0]: row for row in rows}
    for family in families.FAMILIES:
        latent = LINK.sub(r"\1", cells[family.name][4])
        assert latent.startswith("yes") == family.latent
        assert ("one" in cells[family.name][3]) == (family.cost == 1)


def test_the_map_shows_each_family_once_and_inside():
    plotting.use_style()
    fig = families.draw_map()
    fig.canvas.draw()
    (ax,) = fig.axes
    texts = {t.get_text().replace("\n", " "): t for t in ax.texts}
    frame = fig.bbox
    for family in families.FAMILIES:
        box = texts[family.name].get_window_extent()
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
    boxes = [p.get_window_extent() for p in ax.patches]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    plt.close(fig)
