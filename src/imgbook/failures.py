"""The failure gallery: symptom, measure, threshold, cause and fix of each, and what its page shows of them.

A failure is defined by its threshold, which the broken code is to cross and the working code not to, on every recorded
seed. What runs is in `imgbook.failure_runs`, what is measured in `imgbook.failure_measures`.
"""

import difflib
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from imgbook import plotting, presets, records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imgbook.failure_measures import Run

RECORD = "gan-failures"


@dataclass(frozen=True)
class Failure:
    """An entry. `measure` is one of `failure_measures.measures`; "above" or "below" the threshold it has failed."""

    symptom: str
    measure: str
    worse: str
    threshold: float
    cause: str
    fix: str


FAILURES = {
    "real-images": Failure(
        "The generator does not change",
        "generator_gradient",
        "below",
        1e-9,
        "The generator's loss is computed on real images. The generator had no part in making them, so the gradient "
        "by its weights is zero, and exactly so.",
        "Compute the generator's loss on generated images.",
    ),
    "strong": Failure(
        "The discriminator's loss goes to zero",
        "generator_gradient",
        "below",
        0.01,
        "The discriminator learns ten times as fast as the generator, and the generator has the minimax loss, which "
        "is flat where the discriminator is sure. Once it has won, almost no gradient is left to learn from.",
        "Take the non-saturating loss, give both networks like learning rates, or penalise the discriminator's "
        "gradient.",
    ),
    "probabilities": Failure(
        "The discriminator's loss does not fall below one",
        "least_discriminator_loss",
        "above",
        1.0,
        "The discriminator ends in a sigmoid, and the loss applies another one. A probability, read as a logit, "
        "cannot say that an image is surely real, or false at all.",
        "Let the discriminator give logits, and leave the sigmoid to the loss.",
    ),
    "shared": Failure(
        "Both losses settle at log 2, and there are no digits",
        "recognised",
        "below",
        0.2,
        "One backward pass through the sum of both losses, and nothing is a constant. What the discriminator gains by "
        "calling a sample false, it loses in the generator's loss, which it minimises as well. Its best answer to "
        "every sample is a logit of 0, and that asks nothing of the generator.",
        "Stop the gradient at the samples in the discriminator's loss, and at the discriminator's weights in the "
        "generator's; or take two backward passes, each by one network's weights.",
    ),
    "rate": Failure(
        "The losses leap by factors of hundreds",
        "generator_loss",
        "above",
        20.0,
        "Both learning rates are twenty times as high. A step then goes far beyond where the gradient is valid; logits "
        "in the thousands make both losses as large.",
        "Lower the learning rate, by factors of three, until the losses stay in the order of one nat.",
    ),
    "range": Failure(
        "What should be black is grey",
        "background",
        "above",
        0.25,
        "The real images are in [0, 1], the generator's tanh is in [-1, 1]. It learns that black is 0, which is the "
        "middle of its own range and shown as such.",
        "Scale the real images to the range of the generator's last layer, and back by the inverse.",
    ),
    "kernel": Failure(
        "A grid lies over the first samples",
        "checkerboard",
        "above",
        0.15,
        "The kernel's size, 3, is not a multiple of the stride, 2. Along each axis, one window and two windows in turn "
        "paint a pixel, so every second one is brighter before anything is learned.",
        "Take a kernel size that the stride divides, 4 here, or enlarge the image first and convolve with stride 1.",
    ),
    "collapse": Failure(
        "All samples of a digit look alike",
        "recall",
        "below",
        0.6,
        "Mode collapse. The generator learns four hundred times as fast as the discriminator, finds the image that "
        "convinces it most, and makes that one from all latents before the discriminator can answer.",
        "Bring the rates together; look at samples of one class side by side, and at the recall beside the precision.",
    ),
    "latent": Failure(
        "There are only a few kinds of each digit",
        "recall",
        "below",
        0.6,
        "The latent is a single number. The images of a digit then lie on one curve, however long it is trained.",
        "Take latents of more numbers than an image has visible degrees of freedom; tens are enough for digits.",
    ),
    "labels": Failure(
        "I ask for one digit and get another",
        "obedience",
        "below",
        0.3,
        "The discriminator sees false images with other labels than those they were made for. That label and image "
        "disagree gives them away, and nothing the generator can do with its label helps.",
        "Pass one array of labels to both networks.",
    ),
    "key": Failure(
        "New samples are worse than those of the training",
        "unseen_gap",
        "above",
        0.7,
        "The key of the latents is used again at every step, so the generator sees one batch of latents only. It "
        "learns to fool the discriminator there and nowhere else.",
        "Derive a new key for each step: `jax.random.fold_in(key, step)`.",
    ),
    "batch": Failure(
        "A sample depends on those beside it",
        "batch_dependence",
        "above",
        1e-4,
        "Samples are drawn in training mode, where batch normalisation uses the mean and variance of the batch that is "
        "being drawn.",
        "Switch to evaluation mode before sampling: `model.eval()`.",
    ),
}


def fails(name: str, values: Mapping[str, float]) -> bool:
    """Whether measured values cross the threshold of a failure. A value that is not finite does.

    Raises:
        KeyError: there is no such failure, or its measure is not among the values.
    """
    failure = FAILURES[name]
    value = values[failure.measure]
    passes = value < failure.threshold if failure.worse == "above" else value > failure.threshold
    return not (passes and np.isfinite(value))


def caught(runs: Mapping[str, "Run"]) -> int:
    """How many failures cross their thresholds while the run "working" does not."""
    working = runs["working"].values
    return sum(
        fails(name, run.values) and not fails(name, working)
        for name, run in runs.items()
        if name in FAILURES
    )


def recorded(record: Mapping, name: str, seed: int) -> dict[str, float]:
    """The measures of a run, a failure's or "working", at one of the seeds in a record, by their position."""
    return {
        key.partition("/")[2]: column[seed]
        for key, column in record["values"].items()
        if key.partition("/")[0] == name
    }


# --- the page --------------------------------------------------------------------------------------------------------


def difference(name: str) -> str:
    """What a failure changes in the working recipe, as the lines of a diff: of numbers, or of a function's source."""
    from imgbook.failure_runs import BROKEN, WORKING

    lines = []
    for holder in ("config", ""):
        right, wrong = (getattr(r, holder) if holder else r for r in (WORKING, BROKEN[name]))
        for field in fields(right):
            old, new = getattr(right, field.name), getattr(wrong, field.name)
            if old == new or field.name == "config":
                continue
            if callable(old):
                lines += _function_difference(old, new)
            else:
                label = "g_rate" if field.name == "learning_rate" else field.name
                lines += [f"- {label} = {old}", f"+ {label} = {new}"]
    return "\n".join(lines)


def _function_difference(old: object, new: object) -> list[str]:
    """Lines of the diff of two functions' bodies, docstrings left out."""
    sources = []
    for function in (old, new):
        text = textwrap.dedent(inspect.getsource(function))
        text = text.replace(f"def {function.__name__}(", f"def {old.__name__}(", 1)
        sources.append(re.sub(r'^ *""".*"""\n', "", text, flags=re.M).splitlines())
    return [line for line in difflib.ndiff(*sources) if not line.startswith("?")]


def draw(name: str, runs: Mapping[str, "Run"]) -> "Figure":
    """A run's two losses, on axes that are the same for all, and its first samples, the digits 0 to 9 in two rows."""
    import matplotlib.pyplot as plt

    run = runs[name]
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.2, 2.1), width_ratios=(1, 1.75))
    for x, player, style in ((0.0, "discriminator", "-"), (0.58, "generator", "--")):
        color, values = plotting.COLORS[player], run.history.metrics[f"{player}_loss"]
        window = min(20, len(values))
        mean = np.convolve(values, np.ones(window) / window, mode="valid")
        left.plot(np.arange(len(mean)) + window, mean, style, color=color)
        text = plotting.label_color(color)
        left.text(x, 1.03, player, color=text, transform=left.transAxes, fontsize=9)
    left.set_yscale("symlog", linthresh=1)
    left.set(xlabel="training step", ylabel="loss (nats)", ylim=(-1.2, 2e4))
    left.set_yticks([0, 1, 100, 10_000], ["0", "1", "100", "10,000"])
    left.minorticks_off()
    plotting.show_tile(right, run.samples[:20], 10)
    return fig


def draw_paint(kernels: tuple[int, ...] = (4, 3)) -> "Figure":
    """How brightly untrained generators paint each pixel, a panel a kernel size; grey levels from 0 to the maximum."""
    import matplotlib.pyplot as plt

    from imgbook.failure_measures import checkerboard, paint

    count = 8 if presets.current() == "smoke" else 256
    fig, axes = plt.subplots(1, len(kernels), figsize=(2.9 * len(kernels), 3.0))
    for ax, kernel in zip(np.atleast_1d(axes), kernels, strict=True):
        field = paint(kernel, 0, count)
        ax.imshow(field, vmin=0, vmax=field.max())
        ax.set_title(f"kernel {kernel}, contrast {checkerboard(field):.2f}", loc="left")
        ax.set_axis_off()
    return fig


def spread(record: Mapping, run: str, measure: str) -> str:
    """Mean ± standard deviation over the seeds of a record."""
    values = np.asarray(record["values"][f"{run}/{measure}"])
    return f"{values.mean():.3g} ± {values.std(ddof=1):.1g}"


def explain(name: str, runs: Mapping[str, "Run"]) -> None:
    """Show what an entry of the page says below its figure: the difference, the measure, cause and fix."""
    from IPython.display import Markdown, display

    from imgbook import pages

    failure, record = FAILURES[name], records.load(RECORD)
    display(Markdown(f"```diff\n{difference(name)}\n```"))
    rows = [
        (label, f"{runs[run].values[failure.measure]:.3g}", spread(record, run, failure.measure))
        for label, run in (("working", "working"), ("broken", name))
    ]
    measure = failure.measure.replace("_", " ")
    note = f"Fails {failure.worse} {failure.threshold:g}. {_seeds(record)}"
    pages.table((measure, "measured here", "recorded"), rows, note)
    display(Markdown(f"**Cause.** {failure.cause}\n\n**Fix.** {failure.fix}"))


def _seeds(record: Mapping) -> str:
    count = len(record["seeds"])
    unjudged = presets.current() == "smoke"
    return f"Recorded: mean ± standard deviation of {count} seeds." + (
        " Preset smoke hardly trains; its values say nothing." if unjudged else ""
    )


def summary(runs: Mapping[str, "Run"]) -> None:
    """Show all failures in one table: of the working code and the broken, what is measured here and recorded."""
    from imgbook import pages

    record, rows = records.load(RECORD), []
    for name, failure in FAILURES.items():
        here = [runs[run].values[failure.measure] for run in ("working", name)]
        there = [spread(record, run, failure.measure) for run in ("working", name)]
        rows.append(
            (
                failure.symptom,
                failure.measure.replace("_", " "),
                f"{here[0]:.3g}",
                f"{here[1]:.3g}",
                f"{failure.worse} {failure.threshold:g}",
                *there,
            )
        )
    header = (
        "symptom",
        "measure",
        "working",
        "broken",
        "fails",
        "working, recorded",
        "broken, recorded",
    )
    pages.table(header, rows, f"{_seeds(record)} Command: `{record['command']}`.")
