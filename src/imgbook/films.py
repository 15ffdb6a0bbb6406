"""Films: images at successive stages of training, which a reader can step through or play, inside a notebook's page.

A film is one fragment of HTML with its own style, script and picture: it asks for nothing from elsewhere, defines no
name and no id, and so works in Jupyter, on Colab and in the rendered book, any number of times a page. Without its
script, and on paper, it is a still of the last stage.
"""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from imgbook import plotting

GREYS = 15  # with "transparent" 16 colours, so that a pixel takes half a byte
COLORS = 255  # with "transparent" a palette's 256
MAX_HEIGHT = 16_384  # pixels of a picture: what browsers, those of phones too, can show

# The padding of the controls is room for the outline of what has the focus.
STYLE = """
.imgbook-film {margin: 1em 0; max-width: 100%; font-family: var(--book-sans, inherit); break-inside: avoid}
.imgbook-film figcaption {margin-top: .5em}
.imgbook-film .stage {margin: .3em 0; line-height: 1.5; min-height: 1.5em; font-variant-numeric: tabular-nums}
.imgbook-film .controls {display: flex; gap: .8em; align-items: center; padding: 5px}
.imgbook-film .controls[hidden] {display: none}
.imgbook-film button {font: inherit; color: inherit; background: none; border: 1px solid currentColor;
  border-radius: .3em; padding: .15em .7em; min-width: 4.8em; min-height: 2em; cursor: pointer}
.imgbook-film input {flex: 1; min-width: 0; height: 2em; margin: 0; cursor: pointer}
@media (prefers-reduced-motion: reduce) {.imgbook-film button {display: none}}
@media print {
  .imgbook-film .controls, .imgbook-film .stage span {display: none}
  .imgbook-film .stage::after {content: attr(data-last)}
  .imgbook-film img {object-position: 0 100% !important}
}
"""

SCRIPT = """
(() => {
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  for (const film of document.querySelectorAll(".imgbook-film[data-labels]:not([data-ready])")) {
    film.dataset.ready = "";
    const [image, label, controls, button, slider] =
      ["img", ".stage span", ".controls", "button", "input"].map(part => film.querySelector(part));
    const labels = JSON.parse(film.dataset.labels), last = labels.length - 1;
    let timer = 0;
    const show = stage => {
      slider.value = stage;
      label.textContent = labels[stage];
      slider.setAttribute("aria-valuetext", labels[stage]);
      image.style.objectPosition = `0 ${100 * stage / last}%`;
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = "Play";
    };
    const next = () => {
      if (!reduced.matches && film.isConnected) show(Number(slider.value) + 1);
      if (reduced.matches || !film.isConnected || Number(slider.value) === last) stop();
    };
    button.onclick = () => {
      if (timer) return stop();
      if (Number(slider.value) === last) show(0);
      timer = setInterval(next, Number(film.dataset.seconds) * 1000 / last);
      button.textContent = "Pause";
    };
    slider.oninput = () => {
      stop();
      show(Number(slider.value));
    };
    controls.hidden = false;
  }
})();
"""


def show_film(
    frames: Sequence[np.ndarray] | np.ndarray, labels: Sequence[str], *, alt: str, **options: Any
) -> None:
    """Show a film in a notebook; where there is no HTML, a line of text. Arguments and errors as for `film_html`."""
    from IPython.display import display

    html = film_html(frames, labels, alt=alt, **options)
    text = f"Film of {len(labels)} stages, {labels[0]} to {labels[-1]}: {alt}"
    display({"text/html": html, "text/plain": text}, raw=True)


def film_html(
    frames: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[str],
    *,
    alt: str,
    caption: str | None = None,
    seconds: float = 6,
    ncols: int = 10,
) -> str:
    """A film as a fragment of HTML, the same for the same arguments: one picture, its label, a button and a slider.

    frames: one array of images `[N, H, W, C]` (uint8 or [0, 1]) for each stage, or `[T, N, H, W, C]`; drawn by
    `plotting.tile` in rows of `ncols`. labels: what is written below each, "after 300 steps". alt: what is seen, for
    those who do not see it. caption: plain text below the film. The button plays once, in `seconds`, from the first
    stage to the last or from where the slider stands; where the reader asks for less motion there is only the slider.

    Grey images are shown in 15 levels and colours in 255, chosen for the film, which keeps the page light.

    Raises:
        ValueError: no frame or no image, labels or frames that do not fit together, images `plotting.tile` refuses,
            an empty alt, `seconds` or `ncols` not positive, or more than a browser's picture can hold.
    """
    if len(frames) == 0 or len(frames) != len(labels):
        raise ValueError(
            f"{len(frames)} frames and {len(labels)} labels; allowed: one label for each frame, at least one"
        )
    if not alt.strip():
        raise ValueError("alt is empty; say what is seen")
    if not 0 < seconds < np.inf:
        raise ValueError(f"seconds = {seconds}; allowed: a positive number")
    sprite, scale = _sprite(frames, ncols)
    last, count = str(labels[-1]), len(frames)
    height, width = sprite.shape[0] // count, sprite.shape[1]
    look = (
        f"width: {scale * width}px; max-width: 100%; height: auto; aspect-ratio: {width} / {height}; display: block; "
        "margin: 0; object-fit: cover; object-position: 0 100%; image-rendering: pixelated; "
        # Over the paper that themes put behind pictures in the dark, which would shift the frames.
        "padding: 0 !important; background: none !important; filter: none !important"
    )
    grey = np.asarray(frames[0]).shape[-1] == 1
    url = "data:image/png;base64," + base64.b64encode(_png(sprite, grey)).decode()
    body = f'<img src="{url}" alt="{escape(alt)}" style="{look}">\n'
    body += f'<p class="stage" data-last="{escape(last)}"><span>{escape(last)}</span></p>\n'
    attributes, script = "", ""
    if count > 1:
        stages = escape(json.dumps([str(label) for label in labels], ensure_ascii=False))
        attributes = f' data-labels="{stages}" data-seconds="{seconds:g}"'
        body += (
            f'<div class="controls" style="max-width: {scale * width}px" hidden>'
            '<button type="button">Play</button>'
            f'<input type="range" min="0" max="{count - 1}" step="1" value="{count - 1}" autocomplete="off" '
            f'aria-label="Stage of the film" aria-valuetext="{escape(last)}"></div>\n'
        )
        script = f"<script>{SCRIPT}</script>\n"
    tag, role = (
        ("figure", "") if caption else ("div", f' role="group" aria-label="Film, {count} stages"')
    )
    if caption:
        body += f"<figcaption>{escape(caption)}</figcaption>\n"
    return (
        f"<style>{STYLE}</style>\n"
        f'<{tag} class="imgbook-film"{role}{attributes}>\n{body}</{tag}>\n{script}'
    )


def _sprite(frames: Sequence[np.ndarray] | np.ndarray, ncols: int) -> tuple[np.ndarray, int]:
    """All frames below each other, float32 `[T * height, width, 4]`, and by how much to enlarge them on the page."""
    shapes = [np.shape(frame) for frame in frames]
    if len(set(shapes)) > 1:
        other = next(shape for shape in shapes if shape != shapes[0])
        raise ValueError(f"frames of shapes {shapes[0]} and {other}; allowed: one shape for all")
    if len(shapes[0]) != 4 or 0 in shapes[0]:
        raise ValueError(f"a frame of shape {shapes[0]}; allowed: [N, H, W, C], at least one image")
    if ncols < 1:
        raise ValueError(f"ncols = {ncols}; allowed: 1 or more")
    tiles = [plotting.tile(frame, min(ncols, len(frame))) for frame in frames]
    height = sum(map(len, tiles))
    if height > MAX_HEIGHT:
        raise ValueError(
            f"the film is {height} pixels high, {len(tiles)} frames of {len(tiles[0])}; "
            f"allowed: {MAX_HEIGHT}; show fewer frames, fewer images or more columns"
        )
    return np.concatenate(tiles), max(1, round(60 / shapes[0][2]))


def _png(sprite: np.ndarray, grey: bool) -> bytes:
    """A PNG with a palette from a picture `[h, w, 4]` in [0, 1] whose opacity is 0 or 1."""
    from PIL import Image

    opaque = sprite[..., 3] > 0
    if grey:
        index = np.rint(sprite[..., 0] * (GREYS - 1))
        palette = np.repeat(np.rint(np.linspace(0, 255, GREYS)), 3)
    else:
        colors = Image.fromarray(np.rint(255 * sprite[..., :3]).astype(np.uint8))
        colors = colors.quantize(COLORS, dither=Image.Dither.NONE)
        index, palette = np.asarray(colors), np.zeros(3 * COLORS)
        palette[: len(colors.getpalette())] = colors.getpalette()
    clear = len(palette) // 3
    picture = Image.fromarray(np.where(opaque, index, clear).astype(np.uint8)).convert("P")
    picture.putpalette([*palette.astype(int).tolist(), 0, 0, 0])
    file = io.BytesIO()
    picture.save(file, "png", optimize=True, transparency=clear, bits=4 if grey else 8)
    return file.getvalue()
