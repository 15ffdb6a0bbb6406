"""Chapter 1: the timeline."""

from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from imgbook import plotting


class Milestone(NamedTuple):
    """The year in which a work was first public, what it brought, its key in the bibliography, and its kind."""

    year: int
    words: str
    key: str
    kind: str  # "memory": energies and codes; "recognition"; "generation"


MILESTONES = (
    Milestone(
        1980, "Neocognitron: finds patterns anywhere", "fukushima1980neocognitron", "recognition"
    ),
    Milestone(1982, "Hopfield network: memory as a landscape", "hopfield1982networks", "memory"),
    Milestone(1985, "Boltzmann machine: a law that is sampled", "ackley1985boltzmann", "memory"),
    Milestone(1986, "Harmonium: two layers, no links inside", "smolensky1986harmony", "memory"),
    Milestone(1986, "Backpropagation", "rumelhart1986backprop", "recognition"),
    Milestone(1989, "A convolutional network reads zip codes", "lecun1989backprop", "recognition"),
    Milestone(1995, "Wake-sleep: two networks, both ways", "hinton1995wakesleep", "memory"),
    Milestone(2002, "Contrastive divergence", "hinton2002training", "memory"),
    Milestone(2006, "Deep autoencoders", "hinton2006reducing", "memory"),
    Milestone(2011, "Pixel after pixel, exact likelihood", "larochelle2011nade", "generation"),
    Milestone(2012, "Photographs recognised", "krizhevsky2012imagenet", "recognition"),
    Milestone(2013, "Variational autoencoder", "kingma2014vae", "generation"),
    Milestone(2014, "Generative adversarial network", "goodfellow2014gan", "generation"),
    Milestone(2014, "Normalising flow of images", "dinh2015nice", "generation"),
    Milestone(2015, "First diffusion model", "sohldickstein2015thermodynamics", "generation"),
    Milestone(2016, "Pixels by recurrent networks", "oord2016pixelrnn", "generation"),
    Milestone(2018, "Faces in high resolution", "karras2019stylegan", "generation"),
    Milestone(2020, "Diffusion competes with GANs", "ho2020ddpm", "generation"),
    Milestone(2021, "Images from sentences", "ramesh2021zeroshot", "generation"),
    Milestone(2021, "Diffusion among codes", "rombach2022latent", "generation"),
    Milestone(2022, "Flow matching", "lipman2023flow", "generation"),
    Milestone(2022, "Diffusion with transformers", "peebles2023transformers", "generation"),
    Milestone(2024, "Sentences, flows and transformers", "esser2024scaling", "generation"),
)
KINDS = {
    "memory": ("encoder", "o"),
    "recognition": ("theory", "s"),
    "generation": ("generator", "D"),
}


def draw_timeline() -> Figure:
    """One row a milestone, oldest first; kinds by colour and by mark."""
    fig, ax = plt.subplots(figsize=(5.6, 0.27 * len(MILESTONES) + 0.5))
    for row, milestone in enumerate(MILESTONES):
        color, mark = KINDS[milestone.kind]
        ax.plot(0, -row, mark, color=plotting.COLORS[color], ms=7)
        ax.text(-0.03, -row, str(milestone.year), ha="right", va="center", fontsize=10)
        ax.text(0.03, -row, milestone.words, ha="left", va="center", fontsize=10)
    ax.axvline(0, color=plotting.COLORS["theory"], linewidth=1, zorder=0)
    for place, (kind, (color, mark)) in enumerate(KINDS.items()):
        ax.plot(0.1 + 0.3 * place, 1.3, mark, color=plotting.COLORS[color], ms=7, clip_on=False)
        ax.text(0.125 + 0.3 * place, 1.3, kind, va="center", fontsize=10)
    ax.set(xlim=(-0.15, 1), ylim=(-len(MILESTONES) + 0.5, 1.8))
    ax.set_axis_off()
    return fig
