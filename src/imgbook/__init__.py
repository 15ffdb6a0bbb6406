"""The package behind *Image Generation with Neural Networks*.

One module per chapter (`concepts`, `gan`, `cnn`, `vae`, `flow`; the GAN's has several beside it: `gan_networks`,
`gan_losses`, `spectral`, `games`, `mixtures`, `failures`) and what they share: the engine (`convolution`, `layers`,
`batches`, `training`, `checkpoints`, `weights`), the images (`data`, `sources`, `download`, `folders`, `augment`),
what judges and records (`judge`, `metrics`, `records`, `staleness`, `experiments`), the pages (`plotting`, `films`,
`pages`) and the command line (`cli`, `console`, `runs`, `outputs`, `doctor`). Nothing happens at import.
"""

__version__ = "0.1.0"
