"""Tables of the VAE chapter: likelihoods of binarised digits, trivial, ours and published."""

from typing import NamedTuple

import numpy as np

from imgbook import records, vae
from imgbook.data import Dataset
from imgbook.fast_tables import mean_spread, values_of


class Published(NamedTuple):
    """A published result: what was trained, on what, -ELBO and -log p in nats (None: not stated), and where."""

    model: str
    protocol: str
    negative_elbo: float | None
    nll: float | None
    reference: str


# Stochastic binarisation throughout. The homework's values are a student's own notes in the course's code.
PUBLISHED = (
    Published(
        "VAE 784-200-200-50",
        "60,000 digits, 3,280 epochs; 5,000 samples",
        None,
        86.76,
        "Burda et al. 2016",
    ),
    Published(
        "the same, replicated",
        "60,000 digits, 3,280 epochs; 5,000 samples",
        None,
        86.35,
        "nbip 2020",
    ),
    Published(
        "VAE 784-300-300-10",
        "33 epochs; 100 test digits, 1,000 samples",
        100.49,
        96.47,
        "Shu 2021",
    ),
)
HEADER = ("model", "trained on; log p by", "-ELBO", "-log p", "from")
OURS = {  # records: words, what they train on
    "vae": ("784-500-20, as on this page", "the package's digits"),
    "vae-minute-full": ("784-400-400-32", "official digits, a tenth set apart"),
    "vae-full": ("the same, longer", "official digits, a tenth set apart"),
    "vae-long-full": ("the same, longest, one run", "official digits, a tenth set apart"),
}


def trivial_rows(train: Dataset, test: Dataset) -> list[tuple[str, ...]]:
    """Models without a code, on the test images: their likelihoods are exact; and the floor below which none can be."""
    uniform = np.prod(train.image_shape) * np.log(2)
    mean = vae.mean_image_negative_log_likelihood(train.images, test.images)
    floor = vae.grey_floor(test.images)
    here = "this page"
    return [
        ("every pixel one half", "nothing; exact", "", f"{uniform:.1f}", here),
        ("mean image", "the package's digits; exact", "", f"{mean:.1f}", here),
        ("floor: the coin tosses' entropy", "the test digits; exact", "", f"{floor:.1f}", here),
    ]


def recorded_rows() -> list[tuple[str, ...]]:
    """Ours, from the records: mean ± standard deviation over seeds."""
    rows = []
    for name, (words, trained) in OURS.items():
        record = records.load(name)
        bound, nll = (
            mean_spread(values_of(record, measure), percent=False)
            for measure in ("negative_elbo", "nll_all")
        )
        seconds = np.mean(record["values"]["seconds"])
        protocol = f"{trained}, {seconds:.0f} s; 5,000 samples"
        rows.append((words, protocol, bound, nll, f"record `{name}`"))
    return rows


def published_rows() -> list[tuple[str, ...]]:
    """Those of `PUBLISHED`."""

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    return [
        (p.model, p.protocol, shown(p.negative_elbo), shown(p.nll), p.reference) for p in PUBLISHED
    ]
