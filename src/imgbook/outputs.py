"""What a trained model gives: its samples as a picture, and its measures on test images."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgbook import files
from imgbook.runs import Model, chapter

if TYPE_CHECKING:  # jax is imported only when something runs
    import jax

    from imgbook.data import Dataset

WHITE = 1.0


def check_images(model: Model, dataset: "Dataset") -> None:
    """Raise ValueError unless a data set has the images and classes that a model was trained on."""
    if dataset.image_shape != model.config.image_shape:
        raise ValueError(
            f"the model was trained on images of shape {model.config.image_shape}, those of {dataset.name} have "
            f"{dataset.image_shape}; give the --data and --size of its training"
        )
    classes = getattr(model.config, "num_classes", 0) or dataset.num_classes  # 0: without labels
    if dataset.num_classes != classes:
        raise ValueError(
            f"the model tells {classes} classes apart, {dataset.name} has {dataset.num_classes}"
        )


def sample(
    model: Model, key: "jax.Array", n: int, test: "Dataset | None" = None
) -> tuple[np.ndarray, int]:
    """Images `[N, H, W, C]`, uint8 or in [0, 1], and the number of columns to show them in.

    gan, vae: `n` samples. cnn: about `n` of the `test` images, a row a predicted class, the most confident first; a
    row is filled up with white where fewer images were put into its class.
    """
    import jax

    name = model.description["model"]
    module, columns = chapter(name), int(np.ceil(np.sqrt(n)))
    if name == "gan":
        latents = jax.random.normal(key, (n, model.config.latent_dim))
        return module.sample(model.graphdef, model.state, latents), columns
    if name == "vae":
        return module.sample(model.graphdef, model.state, key, n), columns
    check_images(model, test)
    logits = module.predict(model.graphdef, model.state, test.images)
    confidence = np.asarray(jax.nn.softmax(logits)).max(axis=-1)
    columns = max(1, n // model.config.num_classes)
    shape = (model.config.num_classes, columns, *test.image_shape)
    rows = np.full(shape, WHITE, np.float32)
    for c in range(model.config.num_classes):
        chosen = np.flatnonzero(logits.argmax(-1) == c)
        chosen = chosen[np.argsort(-confidence[chosen], kind="stable")][:columns]
        rows[c, : len(chosen)] = test.images[chosen] / 255
    return rows.reshape(-1, *test.image_shape), columns  # [K, n, H, W, C] -> [K * n, H, W, C]


def evaluate(model: Model, test: "Dataset", preset: str, seed: int) -> tuple[dict[str, float], str]:
    """The chapter's measures on test images, and a note on what could not be measured ("" if all could).

    cnn: accuracy, cross_entropy (nats). vae: negative_elbo and its parts (nats an image), bits_per_dim, and on digits
    what the judge says of samples, `imgbook.vae_runs.judged`. gan, on digits: `imgbook.gan_runs.measures`.
    """
    import jax

    from imgbook import gan_runs, vae_runs

    check_images(model, test)
    name, key = model.description["model"], jax.random.key(seed)
    module, values = chapter(name), {}
    if name == "cnn":
        logits = module.predict(model.graphdef, model.state, test.images)
        loss = float(module.cross_entropy(logits, test.labels))
        return {"accuracy": module.accuracy(logits, test.labels), "cross_entropy": loss}, ""
    if name == "vae":
        values = module.evaluate(
            model.graphdef, model.state, test.images, jax.random.fold_in(key, 2)
        )
        shape = model.config.image_shape
        values["bits_per_dim"] = module.bits_per_dim(values["negative_elbo"], shape)
    if test.name != "mnist":
        return values, f"there is no judge for images of {test.name}: it knows digits"
    # The same keys as in `imgbook.experiments`, so that a recorded model gets its recorded values.
    real, _ = gan_runs.references(preset)
    parts = model.graphdef, model.state, model.config
    if name == "gan":
        key = jax.random.fold_in(key, 2)
        return gan_runs.measures(*parts, key, preset, real), ""
    return {**values, **vae_runs.judged(*parts, key, preset, real)}, ""


def write_png(path: Path, images: np.ndarray, columns: int, scale: int) -> None:
    """Write images `[N, H, W, C]` as one picture in rows of `columns`, each pixel `scale` x `scale`, white between."""
    from PIL import Image

    from imgbook.plotting import tile

    picture = tile(images, columns)
    opacity = picture[..., 3:]
    picture = np.rint((picture[..., :3] * opacity + WHITE * (1 - opacity)) * 255).astype(np.uint8)
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    png = io.BytesIO()
    Image.fromarray(picture).save(png, format="PNG")
    files.write(path, png.getvalue())
