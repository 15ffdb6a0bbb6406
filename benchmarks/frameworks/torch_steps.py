"""The three training steps in PyTorch: eager, with channels last in memory, and compiled.

What is done for PyTorch, beside what its users write anyway: gradients are set to None and not to zero, Adam is the
fused one, the discriminator's weights ask for no gradients in the generator's turn, images are gathered by one
`index_select` in the layout in which the first convolution wants them, loss and forward pass are compiled as one graph
of fixed shapes (the backward pass with it), and the compiled variant has its channels last, where that is faster.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frameworks import work

VARIANTS = ("eager", "channels_last", "compile")
torch._dynamo.config.recompile_limit = 64  # a graph for each batch size of a curve, none given up


# --- networks -------------------------------------------------------------------------------------------------


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(a, b, 3) for a, b in ((3, 32), (32, 64), (64, 128))
        )
        self.dense, self.head = nn.Linear(512, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        h = F.relu(self.dense(x.flatten(1)))
        h = F.dropout(h) if keep is None else h * keep * 2
        return self.head(h)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=work.NORM_EPSILON, momentum=1 - work.NORM_MOMENTUM)


class Generator(nn.Module):
    def __init__(self, memory_format: torch.memory_format):
        super().__init__()
        self.memory_format = memory_format
        self.dense = nn.Linear(100, 6272, bias=False)
        self.norm1, self.norm2 = batch_norm(128), batch_norm(64)
        self.up1 = nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False)
        self.up2 = nn.ConvTranspose2d(64, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).view(-1, 128, 7, 7).contiguous(memory_format=self.memory_format)
        x = self.up1(F.relu(self.norm1(x)))
        return torch.tanh(self.up2(F.relu(self.norm2(x))))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(1, 64, 4, 2, 1)
        self.down2 = nn.Conv2d(64, 128, 4, 2, 1, bias=False)
        self.norm2 = batch_norm(128)
        self.dense = nn.Linear(6272, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.down1(x), work.SLOPE)
        x = F.leaky_relu(self.norm2(self.down2(x)), work.SLOPE)
        return self.dense(x.flatten(1))[:, 0]


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.up = nn.Linear(784, 500), nn.Linear(20, 500)
        self.mean, self.logvar = nn.Linear(500, 20), nn.Linear(500, 20)
        self.logits = nn.Linear(500, 784)

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        h = F.relu(self.hidden(x))
        mean, logvar = self.mean(h), self.logvar(h)
        latents = torch.randn_like(mean) if latents is None else latents
        logits = self.logits(F.relu(self.up(mean + torch.exp(logvar / 2) * latents)))
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return (nll + kl).mean()


# --- weights from NumPy's layout to PyTorch's -----------------------------------------------------------------


def channels_first(rows: np.ndarray, pixels: int) -> np.ndarray:
    """The first axis of a dense kernel, an image's pixels as H, W, C, in PyTorch's order C, H, W."""
    return np.moveaxis(rows.reshape(pixels, -1, rows.shape[1]), 1, 0).reshape(rows.shape)


def torch_kernel(name: str, kernel: np.ndarray) -> np.ndarray:
    """A kernel of `work.weights` as PyTorch has it."""
    if ".up" in name and kernel.ndim == 4:
        # Flax's is that of a convolution of the dilated input, PyTorch's that of its adjoint: turned around.
        return kernel[::-1, ::-1].transpose(2, 3, 0, 1)  # HWIO -> IOHW
    if kernel.ndim == 4:
        return kernel.transpose(3, 2, 0, 1)  # HWIO -> OIHW
    if name == "g.dense.kernel":
        return channels_first(kernel.T, 49)  # its outputs are pixels
    pixels = {"dense.kernel": 4, "d.dense.kernel": 49}.get(name)
    return (channels_first(kernel, pixels) if pixels else kernel).T


@torch.no_grad()
def load(net: nn.Module, model: str, prefix: str) -> None:
    """The first weights into a network, in place: the memory format stays."""
    for name, array in work.weights(model).items():
        if name.startswith(prefix):
            layer, kind = name.removeprefix(prefix).rsplit(".", 1)
            value = torch_kernel(name, array) if kind == "kernel" else array
            parameter = getattr(net, layer).bias if kind == "bias" else getattr(net, layer).weight
            parameter.copy_(torch.from_numpy(value.copy()))


# --- steps ----------------------------------------------------------------------------------------------------


class Runner:
    """One model's training step; see `worker.Runner` for what is asked of it."""

    def __init__(self, model: str, variant: str, arrays: dict[str, np.ndarray], batch_size: int):
        self.model, self.batch_size, self.steps = model, batch_size, 0
        plain = variant == "eager" or (variant == "compile" and model == "vae")
        self.format = torch.contiguous_format if plain else torch.channels_last
        images = torch.from_numpy(arrays["images"])
        if model == "vae":
            images = images.flatten(1)
        elif plain:
            images = images.permute(0, 3, 1, 2).contiguous()  # else [N, H, W, C]: permuted later
        self.data = (images,)
        if model == "cnn":
            self.data += (torch.from_numpy(arrays["labels"]).long(),)
        self.nets = {"": CNN} if model == "cnn" else {"": VAE}
        if model == "gan":
            self.nets = {"g.": lambda: Generator(self.format), "d.": Discriminator}
        self.nets = {p: net().to(memory_format=self.format) for p, net in self.nets.items()}
        compiled = (lambda f: torch.compile(f, dynamic=False)) if variant == "compile" else lambda f: f  # fmt: skip
        self.loss = compiled(self.cnn_loss if model == "cnn" else self.vae_loss)
        self.generate, self.d_loss, self.g_loss = map(
            compiled, (self.generate, self.d_loss, self.g_loss)
        )
        self.reset()

    def reset(self) -> None:
        """The first weights, Adam without memory, the first batch."""
        self.steps = 0
        for prefix, net in self.nets.items():
            load(net, self.model, prefix)
        betas = work.BETA1[self.model], work.BETA2
        self.optimizers = {
            prefix: torch.optim.Adam(
                net.parameters(),
                lr=work.LEARNING_RATES[self.model],
                betas=betas,
                eps=work.EPSILON,
                fused=True,
            )
            for prefix, net in self.nets.items()
        }

    def as_images(self, rows: Tensor) -> Tensor:
        """uint8 `[N, C, H, W]` of what was gathered, in the variant's memory format."""
        return rows if self.format == torch.contiguous_format else rows.permute(0, 3, 1, 2)

    def cnn_loss(self, images: Tensor, labels: Tensor, keep: Tensor | None = None) -> Tensor:
        x = self.as_images(images).float() / 63.75 - 2.0
        return F.cross_entropy(self.nets[""](x, keep), labels)

    def vae_loss(
        self, images: Tensor, latents: Tensor | None = None, levels: Tensor | None = None
    ) -> Tensor:
        grey = images.float() / 255
        x = torch.bernoulli(grey) if levels is None else (levels < grey).float()
        return self.nets[""](x, latents)

    def generate(self, latents: Tensor) -> Tensor:
        return self.nets["g."](latents)

    def d_loss(self, images: Tensor, fake: Tensor) -> Tensor:
        real, d = self.as_images(images).float() / 127.5 - 1.0, self.nets["d."]
        return F.softplus(-d(real)).mean() + F.softplus(d(fake)).mean()

    def g_loss(self, fake: Tensor) -> Tensor:
        return F.softplus(-self.nets["d."](fake)).mean()

    def turn(self, name: str, loss: Tensor, update: bool) -> float:
        """Backward pass and update of one network; without `update` the gradient's norm."""
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        if update:
            self.optimizers[name].step()
            return 0.0
        gradients = [p.grad.double() for p in self.nets[name].parameters()]
        return float(sum((g**2).sum() for g in gradients) ** 0.5)

    def step(self, rows: np.ndarray, noise: dict | None, update: bool) -> tuple[list, list[float]]:
        """One step: losses, and the gradients' norms if nothing is updated."""
        rows = torch.from_numpy(rows)
        batch = [array.index_select(0, rows) for array in self.data]
        given = {name: torch.from_numpy(a) for name, a in noise.items()} if noise else {}
        if self.model != "gan":
            loss = self.loss(*batch, **given)
            return [loss.detach()], [self.turn("", loss, update)]
        latents = given["latents"] if given else torch.randn(self.batch_size, 100)
        fake = self.generate(latents)
        d_loss = self.d_loss(*batch, fake.detach())
        norms = [self.turn("d.", d_loss, update)]
        self.nets["d."].requires_grad_(False)
        g_loss = self.g_loss(fake)
        norms.append(self.turn("g.", g_loss, update))
        self.nets["d."].requires_grad_(True)
        return [d_loss.detach(), g_loss.detach()], norms

    def run(self, n: int) -> None:
        for i in range(self.steps, self.steps + n):
            self.step(work.rows(len(self.data[0]), self.batch_size, i), None, True)
        self.steps += n


def product(a: np.ndarray) -> Callable[[], object]:
    """A function that multiplies a matrix by itself and has finished when it returns."""
    matrix = torch.from_numpy(a)
    return lambda: matrix @ matrix
