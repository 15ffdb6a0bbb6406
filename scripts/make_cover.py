#!/usr/bin/env python3
"""Train the GAN and the VAE at preset quick and draw book/_static/images/cover.svg (about two minutes on two cores).

python scripts/make_cover.py
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from imgbook import data, gan, plotting, vae

TARGET = Path(__file__).parents[1] / "book" / "_static" / "images" / "cover.svg"


def main() -> None:
    key, columns = jax.random.key(0), 16
    digits, test = data.load("mnist", "train", "quick"), data.load("mnist", "test", "quick")
    config = gan.config_for(digits, "quick")
    graphdefs, state, _ = gan.train(digits, config, key)
    latents = jax.random.normal(jax.random.fold_in(key, 2), (2 * columns, config.latent_dim))
    generated = gan.sample(graphdefs, state, latents)
    graphdef, state, _ = vae.train(digits, vae.config_for(digits, "quick"), key)
    decoded = vae.sample(graphdef, state, jax.random.fold_in(key, 3), 2 * columns)
    real = test.images[np.random.default_rng(0).choice(len(test), 2 * columns, replace=False)]
    plotting.use_style()
    fig = plotting.compare_rows(
        {
            "handwritten": real,
            "by the generative adversarial network": generated,
            "by the variational autoencoder": decoded,
        },
        ncols=columns,
        cell=0.5,
    )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(TARGET, metadata={"Date": None}, bbox_inches="tight")
    plt.close(fig)
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
