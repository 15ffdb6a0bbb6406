"""A chapter's model on the command line, by the functions that the chapter uses: train it, get it back from weights or
checkpoints.
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import imgbook
from imgbook import sources

if TYPE_CHECKING:  # these import jax, which the command line does only when it runs something
    from imgbook.data import Dataset
    from imgbook.parallel import Layout
    from imgbook.training import History

MODELS = ("gan", "cnn", "vae")
KNOWN_DATA = tuple(sources.SOURCES)


class Model(NamedTuple):
    """A model and what is known of it: see `describe`; steps is the number of training steps behind `state`."""

    graphdef: Any  # for a GAN both networks'
    state: Any
    config: Any
    description: dict
    steps: int


def chapter(model: str) -> ModuleType:
    """The module of a model."""
    from imgbook import cnn, gan, vae

    return {"gan": gan, "cnn": cnn, "vae": vae}[model]


def load_data(data: str, split: str, preset: str, size: int | None) -> "Dataset":
    """A split of `mnist` or `cifar10`, or of a folder with one sub-folder of images a class.

    Raises:
        ValueError: a size without a folder, and what the data say. FileNotFoundError: no such folder.
    """
    from imgbook.data import from_folder, load

    if data in KNOWN_DATA:
        if size is not None:
            raise ValueError(f"--size is for folders; the images of {data} have their own size")
        return load(data, split, preset)
    if not Path(data).exists():
        known = ", ".join(KNOWN_DATA)
        raise FileNotFoundError(
            f"no folder {data!r}; allowed: {known}, or a folder of class folders"
        )
    dataset = from_folder(data, 32 if size is None else size, split=split)
    return replace(dataset, name=f"folder {dataset.name}")  # its name may be that of a known one


def describe(
    model: str, config: object, data: str, data_hash: str, preset: str, seed: int
) -> dict[str, Any]:
    """What a run is, as JSON has it: enough to build the model again and to tell one run from another."""
    fields = {f"config.{name}": value for name, value in asdict(config).items()}
    about = {"model": model, "data": data, "data_hash": data_hash, "preset": preset, "seed": seed}
    return json.loads(json.dumps({**about, **fields}))


def train(
    model: str,
    dataset: "Dataset",
    preset: str,
    seed: int,
    steps: int | None,
    layout: "Layout | None" = None,
    **checkpoints: object,
) -> tuple[Model, "History"]:
    """Train a model on a data set; `checkpoints` are options of `imgbook.checkpoints.Checkpoints`, none if empty.

    Raises:
        ValueError: other processes were started with other options; or as `training.fit`.
        FloatingPointError, CheckpointError, ProcessLost: as `training.fit`.
    """
    import jax

    from imgbook import processes
    from imgbook.checkpoints import Checkpoints

    module = chapter(model)
    changes = {} if steps is None else {"num_steps": steps}
    config = module.config_for(dataset, preset, **changes)
    about = describe(model, config, dataset.name, dataset.content_hash, preset, seed)
    saved = Checkpoints(**checkpoints, describe=about) if checkpoints else None
    options = {"layout": layout} if layout else {}
    if layout and layout.num_processes > 1:
        # Folders may have other names on other hosts.
        flags = {"jax": jax.__version__, "shard_parameters": layout.shard_parameters}
        flags |= {"checkpoint_dir": bool(saved)} | {
            k: checkpoints[k] for k in checkpoints.keys() - {"folder"}
        }
        with processes.together():
            processes.check_same(about | flags)
    graphdef, state, history = module.train(
        dataset, config, jax.random.key(seed), checkpoints=saved, **options
    )
    return Model(graphdef, state, config, about, history_steps(history)), history


def history_steps(history: "History") -> int:
    """How many steps a history holds."""
    return len(next(iter(history.metrics.values()), ()))


def fresh(model: str, description: Mapping, where: Path) -> tuple[Any, Any, Any]:
    """Structure, untrained state and hyperparameters of a described model.

    Raises:
        ValueError: the description is another model's, or was not written here.
    """
    import jax

    found = description.get("model", "something else")
    if found != model:
        raise ValueError(f"{where} holds {found}; expected {model}")
    module = chapter(model)
    fields = {
        name.removeprefix("config."): tuple(value) if isinstance(value, list) else value
        for name, value in description.items()
        if name.startswith("config.")
    }
    try:
        config = getattr(module, f"{model.upper()}Config")(**fields)
    except TypeError as error:  # a field that another version of the package has
        raise ValueError(f"{where} was written by another version of imgbook ({error})") from error
    return *module.init(config, jax.random.key(0)), config


def check_weights_name(path: Path) -> None:
    """Raise ValueError unless a weights file may have that name."""
    from imgbook import weights

    weights.check_ending(path)
    if (about := path.with_suffix(".json")).exists():
        raise ValueError(f"{about} is there already; give another name or remove it")


def describe_weights(
    description: Mapping[str, Any],
    steps: int,
    *,
    result: Mapping[str, float],
    licence: str,
    command: str,
) -> dict[str, Any]:
    """All that is known of trained weights, as `imgbook.weights` stores it.

    description: of the run, see `describe`. result: what was measured. licence: that of the data.
    """
    from imgbook import records

    fields = [f"{k.removeprefix('config.')}={v}" for k, v in description.items() if "config." in k]
    return {
        **description,
        "architecture": f"imgbook.{description['model']} with {', '.join(fields)}",
        "steps": steps,
        "versions": records.versions(),
        "device": records.describe_device(),
        "result": dict(result),
        "licence": f"MIT (weights); data: {licence}",
        "command": command,
        "date": datetime.date.today().isoformat(),
        "imgbook": imgbook.__version__,
    }


def from_weights(model: str, path: Path) -> Model:
    """A model from its weights file.

    Raises:
        ValueError: no whole weights file, or another model's. FileNotFoundError: there is none.
    """
    from imgbook import weights

    _, description = weights.read(path)
    graphdef, state, config = fresh(model, description, path)
    state, history, _ = weights.load_model(path, state)
    return Model(graphdef, state, config, description, history_steps(history))


def from_checkpoints(model: str, folder: Path) -> Model:
    """A model from the newest whole checkpoint in a folder.

    Raises:
        ValueError: another model's. FileNotFoundError: there is none.
    """
    from imgbook import checkpoints

    description = checkpoints.description(folder)
    graphdef, state, config = fresh(model, description, folder)
    state, step, _ = checkpoints.restore(folder, state, description)
    return Model(graphdef, state, config, description, step)


def packaged_weights(model: str, data: str) -> Path:
    """The weights that come with the package.

    Raises:
        FileNotFoundError: there are none for that model and data set.
    """
    from imgbook import weights

    for name in (model, f"{model}-{data}"):
        path = weights.TRAINED / f"{name}.safetensors"
        if path.exists() and weights.read(path)[1]["data"] == data:
            return path
    raise FileNotFoundError(
        f"the package holds no weights of {model} on {data}; give --weights or --checkpoint-dir (first: "
        f"python -m imgbook train {model} --data {data} --weights {model}.safetensors)"
    )
