# what: no harm: names of builtins that no check uses, settings of NumPy and JAX, a plot, a warning, a jitted function
# ends: finished
# loses: none
# names: none
import functools
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

jax.config.update("jax_enable_x64", True)
np.set_printoptions(precision=3)
np.seterr(all="ignore")
np.random.default_rng(0)
warnings.simplefilter("ignore")
sum = 0
max = np.max
plt.plot([1, 2])
plt.show()
model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
gradient = nnx.jit(nnx.value_and_grad(lambda m, x: (m(x) ** 2).mean()))
optimizer.update(model, gradient(model, jnp.ones((3, 2)))[1])
jax.vmap(jax.grad(lambda x: jax.nn.softmax(x).sum()))(jnp.ones((2, 3)))
jax.lax.scan(lambda c, x: (c + x, c), 0.0, jnp.arange(3.0))
jax.random.normal(jax.random.key(0), (2,))
np.testing.assert_allclose(np.linalg.norm(np.ones(4)), 2)


@functools.lru_cache
def double(x):
    return 2 * x


double = double.__wrapped__
