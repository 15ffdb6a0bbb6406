"""Chapter 2: a map of the families of models, and what each gives and gives up, with the measurements of the records.

Every number is read from a record; every cell that stands for a measurement links to where the book makes it.
"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from imgbook import plotting, records

NOT_MEASURED = "not measured"
KNOWN = ("exact", "up to a\nconstant", "by solving\nan equation", "a lower\nbound", "nothing")
COST = ("no samples", "one pass", "many passes")


class Family(NamedTuple):
    """A family on the map: its name, what trains it, its row in KNOWN and column in COST, and two marks."""

    name: str
    trained: str
    known: int
    cost: int
    latent: bool  # gives a latent of a given image
    network: bool


FAMILIES = (
    Family("Gaussian, PCA", "closed form", 0, 1, True, False),
    Family("autoregressive", "likelihood,\npixel by pixel", 0, 2, False, True),
    Family("Boltzmann machine", "likelihood,\nby sampling", 1, 2, True, True),
    Family("flow, diffusion", "a regression", 2, 2, True, True),
    Family("VAE", "bound of the\nlikelihood", 3, 1, True, True),
    Family("classifier", "likelihood\nof labels", 4, 0, False, True),
    Family("GAN", "a game of\ntwo networks", 4, 1, False, True),
)


def draw_map() -> Figure:
    """The families by what is known of p(x) and what a sample costs; a green circle for a latent of a given image."""
    fig, ax = plt.subplots(figsize=(5.3, 5.8))
    green, grey = plotting.COLORS["encoder"], plotting.COLORS["theory"]
    for family in FAMILIES:
        x, y = family.cost, -family.known
        solid = "-" if family.network else "--"
        frame = dict(facecolor=plotting.PAPER, edgecolor=grey, linestyle=solid, linewidth=1.6)
        ax.add_patch(FancyBboxPatch((x - 0.4, y - 0.31), 0.8, 0.62, "round,pad=0.06", **frame))
        name, line = family.name.replace("Boltzmann ", "Boltzmann\n"), 0.135
        heights = [line * (1 + words.count("\n")) for words in (name, family.trained)]
        top = y + (sum(heights) + line / 2) / 2
        style = dict(ha="center", va="top", fontsize=9, linespacing=1.05)
        ax.text(x, top, name, weight="bold", **style)
        ax.text(x, top - heights[0] - line / 2, family.trained, **style)
        if family.latent:
            ax.plot(x + 0.44, y + 0.35, "o", ms=9, color=green, clip_on=False)
    ax.set_xticks(range(len(COST)), COST)
    ax.set_yticks([-i for i in range(len(KNOWN))], KNOWN)
    ax.set(xlim=(-0.62, 2.6), ylim=(-4.6, 0.6), xlabel="what a sample costs")
    ax.set_ylabel("probability model: what is known of p(x)")
    legend = (
        (0.2, "bold: the family", plotting.INK),
        (-0.15, "plain: its training", plotting.INK),
        (-0.62, "solid frame: networks,\ndense or convolutional", plotting.label_color(grey)),
        (-1.12, "dashed frame: none", plotting.label_color(grey)),
        (-1.6, "      a latent of\n      a given image", plotting.label_color(green)),
    )
    for y, words, shade in legend:
        ax.text(-0.54, y, words, va="center", fontsize=9, color=shade)
    ax.plot(-0.47, -1.6, "o", ms=9, color=green)
    ax.grid(visible=False)
    return fig


def link(words: str, page: str, anchor: str = "") -> str:
    """Words that lead to a page `book/PAGE.ipynb` as rendered, and there to a heading or figure."""
    return f"[{words}]({page}.html{'#' + anchor if anchor else ''})"


def recorded(name: str, measure: str, form: str, percent: bool = False) -> str:
    """Mean ± standard deviation of a record's measure over its seeds, without a unit."""
    values = np.array(records.mean_and_spread(records.load(name), measure))
    mean, spread = 100 * values if percent else values
    return f"{mean:{form}} ± {spread:{form}}"


MACHINES = ("01-background", "four-generators-under-one-judge")
SAMPLES = {"gan": ("03-gan", "how-good-are-the-samples"), "vae": ("05-vae", "beside-the-gan")}


def gives() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: what each family gives."""
    header = (
        "family",
        "probability of an image",
        "samples of its law",
        "a sample costs",
        "latent of a given image",
    )
    gaussian = ("01-background", "the-oldest-generator-a-gaussian-on-principal-components")
    machine = ("01-background", "a-generator-with-hidden-units")
    rows = [
        ("classifier", "none, only p(y given x)", link("none", "02-concepts", "fig-concepts-ascent"), "–",
         link("features, and no way back", "cnn-inside", "what-a-layer-keeps")),
        ("Gaussian, PCA", link("exact", *gaussian), "exact", "one matrix product",
         link("yes, its coordinates", *gaussian)),
        ("Boltzmann machine", link("up to a constant", *machine), link("near the law, by a chain", *machine),
         "hundreds of sweeps", link("yes, the hidden units", *machine)),
        ("autoregressive", link("exact", "01-background", "what-generation-can-mean"), "exact", "a pass a pixel", "no"),
        ("VAE", link("a lower bound", "vae-bound"),
         link("exact, if pixels are drawn", "05-vae", "where-the-blur-comes-from"), "one pass",
         link("yes, q(z given x)", "05-vae", "a-bound-that-can-be-maximised")),
        ("GAN", link("none", "05-vae", "beside-the-gan"), "exact", "one pass", "no, there is no encoder"),
        ("flow, diffusion", "by solving an equation", link("up to the solver's steps", "outlook-flow", "following-it"),
         link("many passes", "outlook-flow", "following-it"), "yes, as large as the image"),
    ]  # fmt: skip
    return header, rows


def gives_up() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: how training behaves, and what the records or pages measure of likelihood, quality, coverage."""
    header = ("family", "training", "-log p, bound (nats)", "recognised (%)", "Fréchet", "recall")
    on_page = link("on its page", *MACHINES)
    likelihoods = link(recorded("vae", "negative_elbo", ".1f"), "05-vae", "how-good-is-it")
    rows = [
        ("Gaussian, PCA", "none, closed form", NOT_MEASURED, *(on_page,) * 3),
        ("Boltzmann machine", "the gradient needs samples", NOT_MEASURED, *(on_page,) * 3),
        ("autoregressive", "one loss", *(NOT_MEASURED,) * 4),
        ("VAE", link("one loss; codes can be lost", "vae-rates", "codes-that-are-lost-and-what-brings-them-back"),
         likelihoods, *judged("vae")),
        ("GAN", link("two players, and many ways to fail", "gan-failures"), "none", *judged("gan")),
        ("flow, diffusion", link("one loss, with a floor above zero", "outlook-flow", "training"), NOT_MEASURED,
         *(link("on points only", "outlook-flow", "following-it"),) * 3),
    ]  # fmt: skip
    return header, rows


def judged(name: str) -> tuple[str, ...]:
    """Share of samples recognised in percent, Fréchet distance and recall of a record, each a link to its page."""
    measures = (("recognised", ".1f", True), ("frechet", ".2f", False), ("recall", ".2f", False))
    return tuple(link(recorded(name, *measure), *SAMPLES[name]) for measure in measures)


def note() -> str:
    """Where the numbers of `gives_up` come from, and what stands beside them in other units."""
    found = {name: records.load(name) for name in ("vae", "gan", "flow", "cnn-mnist")}
    runs = ", ".join(f"{name} {len(found[name]['seeds'])} seeds" for name in ("vae", "gan"))
    floor = records.mean_and_spread(found["gan"], "floor")[0]
    near = recorded("flow", "near", ".1f", percent=True)
    accuracy = recorded("cnn-mnist", "accuracy", ".1f", percent=True)
    return (
        f"Records of preset {found['vae']['preset']} on the package's digits ({runs}); ±: standard deviation over "
        "seeds. Bound: of binarised test digits, less is better. Recognised, Fréchet, recall: by the judge; the "
        f"Fréchet distance of other real digits is {floor:.2f}; to be compared within this table only. In other units: "
        f"{link(near + ' %', 'outlook-flow', 'following-it')} of the flow's samples are within reach of a mode, on the "
        f"ring of points ({len(found['flow']['seeds'])} seeds), and the classifier is right on "
        f"{link(accuracy + ' %', '04-cnn')} of the test digits ({len(found['cnn-mnist']['seeds'])} seeds)."
    )
