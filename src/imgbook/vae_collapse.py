"""Chapter 5: a decoder so strong that it does without the code."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook.vae_networks import VAE, VAEConfig
from imgbook.vae_terms import bernoulli_log_likelihood


class AutoregressiveVAE(VAE):
    """A VAE whose decoder also sees, for each pixel, the pixels before it, row by row.

    logits_d = decoder(z)_d + sum over e < d of W_ed x_e. Without a code this is a fully visible sigmoid belief network
    (Neal 1992; Frey 1998), a model of images in its own right.
    """

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        if config.likelihood != "bernoulli":
            raise ValueError(f"likelihood {config.likelihood!r}; allowed: bernoulli")
        size = int(np.prod(config.image_shape))
        self.before = nnx.Linear(size, size, use_bias=False, rngs=rngs)

    def log_likelihood(
        self, latents: jax.Array, x: jax.Array, labels: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | z) in nats `[N]`: the product over pixels of each given the code and those before it."""
        flat = x.reshape(len(x), -1)  # [N, H, W, C] -> [N, D]
        from_pixels = flat @ jnp.triu(self.before.kernel[...], 1)  # row e, column d: e < d alone
        # [N, D] -> [N, H, W, C]
        logits = self.decoder(latents, labels) + from_pixels.reshape(x.shape)
        return bernoulli_log_likelihood(logits, x)
