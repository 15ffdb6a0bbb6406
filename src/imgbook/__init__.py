"""The package behind *Image Generation with Neural Networks*.

One module per chapter (`concepts`, `gan`, `cnn`, `vae`, `flow`) and the few they share: `data`, `layers`,
`training`, `judge`, `weights`, `records`, `plotting`, `pages`. Nothing happens at import.
"""

__version__ = "0.1.0"
