"""Chapter 4: what is read from the records of the fast recipe, and its figures, on records made up here."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import loaded

from imgbook import experiment_runs, fast_figures, fast_runs, fast_tables, records
from imgbook.fast_networks import FastConfig

RACE = fast_runs.RACE["full"]


def made_up(name: str, values: dict[str, list[float]], preset: str = "full") -> dict:
    seeds = list(range(len(next(iter(values.values())))))
    return {
        "name": name,
        "preset": preset,
        "seeds": seeds,
        "values": values,
        "seconds": [1.0] * len(seeds),
        "command": f"python -m imgbook record {name}",
        "device": "a machine",
    }


def race() -> dict:
    """Two runs: the baseline's accuracy rises in a straight line to 60 and 80 %, the fast one's to 100 %."""
    values = {}
    for name, ends in (("baseline", (0.6, 0.8)), ("fast", (1.0, 1.0))):
        for i in range(fast_runs.POINTS + 1):
            values[f"{name}/curve/{i:02d}"] = [end * i / fast_runs.POINTS for end in ends]
        batch_size = RACE[name][1].get("batch_size", FastConfig().batch_size)
        values |= {
            f"{name}/images": [fast_runs.POINTS * 10 * batch_size] * 2,
            f"{name}/seconds": [100.0, 200.0],
            f"{name}/accuracy": [0.5, 0.7],
            f"{name}/flipped": [0.6, 0.7],
        }
    return made_up("fast-full", values)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_mean_and_spread_in_words():
    assert fast_tables.mean_spread([0.7, 0.8, 0.9]) == "80.0 ± 10.0 %"
    assert fast_tables.mean_spread([0.7]) == "70.0 %"
    assert fast_tables.mean_spread([90, 110], percent=False) == "100.0 ± 14.1"
    assert fast_tables.mean_spread([0.99412, 0.99432], digits=2) == "99.42 ± 0.01 %"


def test_an_unknown_measure_is_named_with_those_there_are():
    with pytest.raises(KeyError, match="no measure 'loss'; it has: accuracy"):
        fast_tables.values_of(made_up("x", {"accuracy": [0.5]}), "loss")


def test_training_flops_are_three_forward_passes_of_the_network_by_hand():
    """The published widths: 2 x 2 whitening at 31 x 31, then blocks at 31, 15 | 15, 7 | 7, 3."""
    config = FastConfig(widths=(64, 256, 256), stride=1)
    convolutions = [(31, 4, 3, 24), (31, 9, 24, 64), (15, 9, 64, 64), (15, 9, 64, 256)]
    convolutions += [(7, 9, 256, 256), (7, 9, 256, 256), (3, 9, 256, 256)]
    forward = sum(2 * n * n * k * a * b for n, k, a, b in convolutions) + 2 * 256 * 10
    assert fast_tables.training_flops(config, 1000) == 3 * 1000 * forward
    # Which is what is published for 9.9 epochs of 50,000 images, in its two digits or nearly.
    pflop = fast_tables.training_flops(config, fast_tables.PUBLISHED_EPOCHS * 50_000) / 1e15
    assert pflop == pytest.approx(fast_tables.PUBLISHED_PFLOP, rel=0.05)


def test_curve_has_the_seconds_of_its_points():
    accuracies, seconds = fast_tables.curve(race(), "baseline")
    assert accuracies.shape == seconds.shape == (2, fast_runs.POINTS + 1)
    np.testing.assert_allclose(seconds[0], np.linspace(0, 100, fast_runs.POINTS + 1))
    np.testing.assert_allclose(accuracies[1], np.linspace(0, 0.8, fast_runs.POINTS + 1))


def test_time_to_a_level_is_read_off_the_straight_line():
    accuracies, seconds = fast_tables.curve(race(), "baseline")
    times = fast_tables.time_to(accuracies, seconds, 0.7)
    assert np.isnan(times[0])  # 60 % is its end
    assert times[1] == pytest.approx(200 * 0.7 / 0.8)
    assert fast_tables.time_words(times) == "175 s (1 of 2 runs)"
    assert fast_tables.time_words(times[:1]) == "not reached"
    both = fast_tables.time_to(*fast_tables.curve(race(), "fast"), 0.5)
    assert fast_tables.time_words(both) == "75 ± 35 s"
    assert fast_tables.time_to(np.array([[0.9, 0.2]]), np.array([[3.0, 4.0]]), 0.5) == [3.0]


def test_race_rows_say_epochs_times_and_accuracies():
    rows = fast_tables.race_rows({"baseline": race(), "fast": race()})
    assert [len(row) for row in rows] == [7, 7]
    assert rows[0][1:] == (
        "10", "150.0 ± 70.7", "175 s (1 of 2 runs)", "200 s (1 of 2 runs)", "60.0 ± 14.1 %", "65.0 ± 7.1 %",
    )  # fmt: skip


@pytest.fixture
def staircase(monkeypatch):
    def load(name):
        stair = name.removeprefix("fast-stair-").removesuffix("-full")
        i = experiment_runs.STAIRS.index(stair)
        values = {
            "accuracy": [0.5 + 0.02 * i, 0.54 + 0.02 * i],
            "seconds": [10.0, 12.0],
            "images": [1e5] * 2,
        }
        values["flipped"] = [0.8, 0.8]
        return made_up(name, {f"{stair}/{k}": v for k, v in values.items()})

    monkeypatch.setattr(records, "load", load)
    return fast_tables.stairs()


def test_stair_rows_have_a_row_for_each_stair_and_mirrored_images_last(staircase):
    rows = fast_tables.stair_rows(staircase, loaded("cifar10", "train"))
    assert [row[0] for row in rows] == list(fast_tables.STAIR_WORDS.values())
    assert rows[0][1:4] == ("52.0 ± 2.8 %", "", "11")
    assert {row[2] for row in rows[1:-1]} == {"+2.0"}
    assert rows[-1][1:3] == ("80.0 ± 0.0 %", "+14.0")
    flops = [float(row[4]) for row in rows]
    assert flops[0] == flops[1] == flops[2]  # the same network
    assert flops[-1] == flops[-2] > flops[-3]  # twice the width


def test_a_stair_says_in_how_many_runs_it_ends_above_a_level(staircase):
    rows = fast_tables.stair_race_rows(staircase, ("article", "width"), levels=(0.5, 0.54, 0.64))
    assert rows[0][1:] == (
        "2", "11.0 ± 1.4", "within 12 s", "within 12 s (1 of 2 runs)", "not reached", "52.0 ± 2.8 %", "80.0 ± 0.0 %",
    )  # fmt: skip
    assert rows[1][3:6] == ("within 12 s", "within 12 s", "within 12 s")


def test_hardware_rows_scale_the_published_cost_by_the_measured_speed():
    record = made_up(
        "fast-long-full", {"long/images": [1e5], "long/seconds": [500.0], "long/flipped": [0.93]}
    )
    photographs, (epochs, changes) = loaded("cifar10", "train"), fast_runs.LONG
    rows = fast_tables.hardware_rows({"long": (record, epochs, changes)}, photographs)
    assert [len(row) for row in rows] == [4] * 4
    speed = (
        fast_tables.training_flops(fast_runs.configured(photographs, "full", 1, changes), 1e5) / 500
    )
    assert rows[2][0].startswith(f"{epochs} epochs of 64-256-256")
    assert rows[2][2:] == ("500", "93.0 %")
    assert rows[3][2] == f"{0.36e15 / speed:,.0f}"


def test_run_rows_leave_out_mirrored_images_where_there_are_none():
    record = race()
    del record["values"]["fast/flipped"]
    rows = fast_tables.run_rows({"a": (record, "baseline"), "b": (record, "fast")})
    assert rows[0][3:5] == ("60.00 ± 14.14 %", "65.00 ± 7.07 %")
    assert rows[1][4] == ""


def test_figures_show_what_was_recorded(staircase):
    fig = fast_figures.draw_stairs(staircase)
    (ax,) = fig.axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(
        [52 + 2 * i for i in range(8)] + [80]
    )
    assert [t.get_text() for t in ax.get_yticklabels()] == list(fast_tables.STAIR_WORDS.values())
    fig = fast_figures.draw_race({"baseline": race(), "fast": race()})
    curves = [line for line in fig.axes[0].lines if len(line.get_xdata()) == fast_runs.POINTS + 1]
    assert len(curves) == 4
    fig = fast_figures.draw_race({"baseline": race(), "fast": race()}, stairs=staircase)
    points = [line.get_xydata()[0] for line in fig.axes[0].lines if line.get_marker() == "D"]
    assert np.allclose(points, [(11, 52 + 2 * i) for i in range(8)])
    assert max(line.get_ydata()[-1] for line in curves) == pytest.approx(100)
    values = {
        f"{n}/{size}/accuracy": [0.4, 0.6] for n in ("baseline", "fast") for size in fast_runs.SIZES
    }
    fig = fast_figures.draw_sizes(made_up("fast-sizes-full", values))
    bars = fig.axes[0].containers
    assert len(bars) == 2
    for container in bars:
        np.testing.assert_allclose(np.asarray(container.lines[0].get_ydata(), float), 50)


def test_small_pictures_are_drawn_each_in_its_place():
    images = np.linspace(-2, 2, 2 * 4 * 3 * 3 * 3).reshape(2, 4, 3, 3, 3)
    fig = fast_figures.draw_augmented(images)
    assert [ax.get_title() for ax in fig.axes[:4]] == [f"epoch {i}" for i in range(4)]
    np.testing.assert_allclose(fig.axes[5].images[0].get_array(), (images[1, 1] + 2) / 4)
    kernels = np.random.default_rng(0).normal(size=(2, 2, 3, 5))
    fig = fast_figures.draw_kernels(kernels)
    shown = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    assert len(shown) == 5
    assert all(
        s.min() >= 0 and s.max() <= 1 and max(abs(s.min() - 0.5), s.max() - 0.5) > 0.49
        for s in shown
    )
    fig = fast_figures.draw_covariances(np.diag([1.0, 2.0]), np.eye(2))
    assert [ax.get_title(loc="left") for ax in fig.axes[:2]] == ["pixels of a patch", "whitened"]
