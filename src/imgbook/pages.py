"""What the chapters print: source code, tables, measurements beside their recorded bands, and how the page was made."""

import datetime
import inspect
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import imgbook
from imgbook import plotting, presets, records

RUN_KEY = (
    "imgbook"  # in the metadata of the output where `provenance` stores what the status page reads
)


@dataclass(frozen=True)
class Headline:
    """The one number of a chapter: its record (None: there is none), name in the record, words and format."""

    record: str | None
    measure: str
    words: str
    format: str


HEADLINES = {
    "01-background": Headline(
        None, "explained", "variance of unseen digits that 50 components explain", ".1%"
    ),
    "02-concepts": Headline("concepts", "accuracy", "digits, test accuracy", ".1%"),
    "03-gan": Headline("gan", "recognised", "samples recognised by the judge", ".1%"),
    "04-cnn": Headline("cnn-cifar10", "accuracy", "photographs, test accuracy", ".1%"),
    "05-vae": Headline("vae", "negative_elbo", "bound, nats a test digit", ".1f"),
    "06-outlook": Headline(None, "leak", "members found at 1 % false alarms, few images", ".0%"),
    "cnn-arithmetic": Headline(
        None, "megaflop", "MFLOP a photograph, the article's network", ".1f"
    ),
    "cnn-inside": Headline(
        None, "similarity", "rank correlation of Grad-CAM with a scrambled network's", ".2f"
    ),
    "cnn-recipe": Headline(
        "fast", "fast/accuracy", "photographs, the fast recipe's test accuracy", ".1%"
    ),
    "concepts-distances": Headline(
        None, "moved", "pixels, W1 of a digit from itself moved by 8", ".2f"
    ),
    "concepts-flax": Headline(None, "accuracy", "digits, twenty lines, test accuracy", ".1%"),
    "concepts-jax": Headline(None, "speed", "times faster with jit, a small step", ".1f"),
    "concepts-training": Headline(
        None, "memorised", "random labels that a network learned by heart", ".0%"
    ),
    "corrections": Headline(None, "proofs", "statements decided by a proof", ".0f"),
    "gan-failures": Headline(None, "caught", "of 12 failures caught by their measure", ".0f"),
    "gan-games": Headline(
        None, "near", "ring samples within reach of a mode, with a penalty", ".1%"
    ),
    "gan-recipes": Headline(None, "obedience", "samples of the digit that was asked for", ".1%"),
    "outlook-flow": Headline("flow", "near", "samples within reach of a mode", ".1%"),
    "outlook-speed": Headline(None, "ratio", "times the fastest other framework, VAE", ".2f"),
    "own-images": Headline(
        None, "accuracy", "drawn pictures, test accuracy (36 for training)", ".1%"
    ),
    "scaling": Headline(None, "peak", "GFLOP/s, the fastest operation of the page here", ".0f"),
    "vae-bound": Headline(None, "gap", "nats lost by the bound, one latent, a test digit", ".2f"),
    "vae-rates": Headline(
        None, "bits", "bits a pixel of a binary digit, with the VAE's bound", ".3f"
    ),
}


def start() -> float:
    """Set the style of figures, keep compiled programs on disk, and return the time, which `provenance` reads again."""
    # Here, because building the pages imports this module and needs no JAX.
    from imgbook import training

    plotting.use_style()
    training.use_compilation_cache()
    return time.perf_counter()


def provenance(chapter: str, clock: float, value: float, *, preset: str | None = None) -> None:
    """Show when, where, how long and with what the page ran; `value` is the chapter's headline number.

    The same facts go into the notebook as data, which the status page collects.

    Raises:
        ValueError: there is no headline for that chapter.
    """
    from IPython.display import display

    if chapter not in HEADLINES:
        raise ValueError(f"no headline for chapter {chapter!r}; there are: {', '.join(HEADLINES)}")
    run = {
        "chapter": chapter,
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "seconds": round(time.perf_counter() - clock, 1),
        "preset": presets.current(preset),
        "device": records.describe_device(),
        "imgbook": imgbook.__version__,
        "versions": records.versions(),
        "value": float(value),
    }
    display({"text/markdown": provenance_text(run)}, raw=True, metadata={RUN_KEY: run})


def provenance_text(run: Mapping) -> str:
    """One paragraph of Markdown from what `provenance` stores."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"This page ran on {run['date']} in {run['seconds']:.0f} s at preset {run['preset']}, on {run['device']}, "
        f"with imgbook {run['imgbook']}, {versions}."
    )


def show_source(*functions: Callable | type) -> None:
    """Show the source of functions or classes of the package as a highlighted code block.

    The page prints what runs: the text is read from the imported object, jitted or not, and never pasted.
    """
    from IPython.display import Markdown, display

    blocks = [textwrap.dedent(inspect.getsource(inspect.unwrap(f))).rstrip() for f in functions]
    display(Markdown("```python\n" + "\n\n\n".join(blocks) + "\n```"))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> None:
    """Show a table, its first column left-aligned, the others right-aligned, and a note below it."""
    from IPython.display import Markdown, display

    display(Markdown(table_text(header, rows) + ("\n\n" + note if note else "")))


def table_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The table as Markdown.

    Raises:
        ValueError: a row is longer or shorter than the header, or a column has no name to be read aloud.
    """
    if not all(header):
        raise ValueError(f"header {tuple(header)!r} has an empty name; give each column one")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"row {tuple(row)!r} has {len(row)} cells; the header has {len(header)}"
            )
    lines = ["| " + " | ".join(header) + " |", "|" + ":--|" + "--:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def verdict(
    record_name: str, measured: Mapping[str, float], *, fmt: str = ".3g", preset: str | None = None
) -> None:
    """Show each measured value beside its recorded band and say whether it lies inside.

    Under `IMGBOOK_STRICT=1` a value outside its band raises; at preset `smoke` nothing is judged, because its
    models are hardly trained.

    Raises:
        records.OutsideBand: a value is outside its band and `IMGBOOK_STRICT=1` is set.
    """
    preset = presets.current(preset)
    if preset != "quick":
        table(
            ("measure", "this run"),
            [(name, format(value, fmt)) for name, value in measured.items()],
            f"Preset {preset}: the bands are those of preset quick, so these values are not judged.",
        )
        return
    record = records.load(record_name)
    judged = {name: records.judge(record, name, value) for name, value in measured.items()}
    rows = []
    for name, (low, high, inside) in judged.items():
        mean, spread = records.mean_and_spread(record, name)
        rows.append(
            (
                name,
                format(measured[name], fmt),
                f"{format(mean, fmt)} ± {format(spread, fmt)}",
                f"{format(low, fmt)} to {format(high, fmt)}",
                "inside" if inside else "**outside**",
            )
        )
    seeds = len(record["seeds"])
    note = (
        f"Recorded runs: mean ± standard deviation, by `{record['command']}` on {record['date']}. "
        "Band: mean ∓ 4 standard deviations."
    )
    table(("measure", "this run", f"{seeds} recorded runs", "band", "verdict"), rows, note)
    records.raise_if_strict(
        record_name, {name: (measured[name], *judged[name]) for name in measured}
    )
