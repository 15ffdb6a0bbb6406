"""What the chapters print: source code, tables, and measurements beside their recorded bands."""

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence

from imgbook import presets, records


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
        ValueError: a row is longer or shorter than the header.
    """
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
