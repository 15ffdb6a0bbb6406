"""The package behind *Image Generation with Neural Networks*.

One module per chapter (`concepts`, `gan`, `cnn`, `vae`, `flow`) and what they share: the engine (`convolution`,
`layers`, `batches`, `training`, `checkpoints`, `weights`), the images (`data`, `sources`, `download`, `folders`), what
judges and records (`judge`, `records`, `staleness`, `experiments`), the pages (`plotting`, `pages`) and the command
line (`cli`, `console`, `runs`, `outputs`, `doctor`). Nothing happens at import.
"""

__version__ = "0.1.0"
