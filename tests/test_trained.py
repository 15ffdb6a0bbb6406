"""The trained models in the package, and each chapter with the switch that loads them in place of training.

The files are what `python -m imgbook record NAME` writes; without them these tests fail.
"""

import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import loaded

from imgbook import cnn, concepts, fast, flow, gan, gan_runs, training, vae, weights

CHAPTERS = {  # the models that each loads, and how many smaller ones it still trains
    "02-concepts": (["concepts"], 1),
    "03-gan": (["gan"], 0),
    "04-cnn": (["cnn-mnist", "cnn-cifar10"], 2),
    "cnn-recipe": (["fast"], 0),
    "05-vae": (["vae", "gan"], 2),  # two latents; with labels
    "outlook-flow": (["flow"], 0),
}
SHOWN = ["gan-conditional"]  # on pages that train nothing
NAMES = sorted({*SHOWN, *(name for names, _ in CHAPTERS.values() for name in names)})
DATA = {"cnn-cifar10": "cifar10", "fast": "cifar10"}
FOUND = sorted(path.stem for path in weights.TRAINED.glob("*.safetensors"))


def untrained(name: str) -> tuple[object, object]:
    """Shapes and dtypes of a fresh state, and its hyperparameters, those of preset quick."""
    modules = {"concepts": concepts, "gan": gan, "vae": vae, "flow": flow, "fast": fast}
    module = modules.get(name.partition("-")[0], cnn)
    dataset = () if name == "flow" else (loaded(DATA.get(name, "mnist"), "train"),)
    changes = gan_runs.CONDITIONAL["conditional"] if name == "gan-conditional" else {}
    config = module.config_for(*dataset, preset="quick", **changes)
    options = {"model_class": concepts.MLP} if name == "concepts" else {}
    init = cnn.init if name == "concepts" else module.init
    return jax.eval_shape(lambda key: init(config, key, **options)[1], jax.random.key(0)), config


def test_the_package_has_every_chapters_model():
    assert FOUND == NAMES, f"missing: {sorted(set(NAMES) - set(FOUND))}; python -m imgbook record"
    total = sum(path.stat().st_size for path in weights.TRAINED.iterdir())
    assert total < 10_000_000


@pytest.mark.parametrize("name", FOUND)
def test_trained_model_is_described_and_fits(name):
    like, config = untrained(name)
    state, history = weights.load_trained(name, like)
    arrays = weights.named(weights.inference(state))
    assert all(np.isfinite(array).all() for array in arrays.values())
    biases = [array for name, array in arrays.items() if name.endswith("bias")]
    assert biases
    assert all(bias.any() for bias in biases), "a fresh model's biases are zero"
    assert history.seconds > 0
    for values in history.metrics.values():
        assert values.shape == (config.num_steps,)
        assert np.isfinite(values).all()
    description = weights.read(weights.TRAINED / f"{name}.safetensors")[1]
    assert (description["preset"], description["seed"]) == ("quick", 0)
    assert description["licence"].startswith("MIT")
    assert description["result"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_runs_without_training(chapter, monkeypatch):
    """Its code, cell by cell as it stands, with the switch on: its own model is not trained, smaller ones are."""
    names, smaller = CHAPTERS[chapter]
    loads, fits = [], []

    def load_trained(name, state, real=weights.load_trained):
        loads.append(name)
        return real(name, state)

    def fit(state, step, batches, num_steps, real=training.fit, **options):
        fits.append(num_steps)
        return real(state, step, batches, min(num_steps, 5), **options)  # enough of a baseline

    monkeypatch.setattr(weights, "load_trained", load_trained)
    monkeypatch.setattr(training, "fit", fit)
    notebook = Path(__file__).parents[1] / "book" / f"{chapter}.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code[0].count("\nTRAINED = False  # True: ") == 1
    code[0] = code[0].replace("\nTRAINED = False", "\nTRAINED = True")
    here: dict = {}
    try:
        for source in code:
            exec(source, here)
    finally:
        plt.close("all")
        plt.rcdefaults()
    assert (loads, len(fits)) == (names, smaller)
    assert {len(values) for values in here["history"].metrics.values()} == {
        here["config"].num_steps
    }
