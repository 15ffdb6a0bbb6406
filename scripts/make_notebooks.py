#!/usr/bin/env python3
"""Write the chapters as plain notebooks for Colab, Binder and JupyterLab, with the package's wheel beside them.

    python scripts/make_notebooks.py [--output _build/notebooks] [--no-wheel]

What the folder holds is what the branch `notebooks` holds. Numbers of equations and figures, citations and wording
are those of the rendered book; links lead to Colab and to the rendered pages if the repository has an address
(see repository.py), and to the files beside the notebook if not.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import repository
import yaml
from myst_blocks import anchors, exercises, labels
from plain_markdown import Book, Page, inline, known, plain
from works import read_works

ROOT = Path(__file__).resolve().parents[1]
MADE = "<!-- made by scripts/make_notebooks.py; changes here are lost -->"
PYTHON = "python-3.12"  # what Binder runs
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
INSTALL = """\
import sys

if "google.colab" in sys.modules:  # Colab: install the package; Colab's own jax stays
    %pip install --quiet {url}
"""
REFUSE = """\
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("imgbook") is None:
    raise RuntimeError(
        "Install the package first: upload {wheel} "
        "and run %pip install {wheel}"
    )
"""


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def read_page(path: Path) -> tuple[str, list[dict]]:
    """The Markdown of a page and its cells (none if it is no notebook)."""
    if path.suffix == ".md":
        return path.read_text(), []
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join(source(c) for c in cells if c["cell_type"] == "markdown"), cells


def figure_names(cells: list[dict]) -> Iterator[str]:
    """The names of the figures, in order. Raises ValueError for a figure without a name."""
    for cell in cells:
        if figure := cell["metadata"].get("mystnb", {}).get("figure"):
            if not figure.get("name"):
                raise ValueError(
                    f"cell {cell['id']}: its figure has no name; set one in metadata mystnb.figure.name"
                )
            yield figure["name"]


# A figure in the text of a page, which has no cell of its own.
FIGURE_NAME = re.compile(r"^```\{figure\}.*\n(?::(?!name:).*\n)*:name: (\S+)", re.M)


def read_book(root: Path = ROOT, address: str | None = None) -> Book:
    """Titles, numbers, anchors, works and times of the book, as rendered. Raises ValueError for a label used twice."""
    titles, places, equations, figures, tasks = {}, {}, {}, {}, {}
    for page, number in repository.pages(root):
        path = next((p for s in (".ipynb", ".md") if (p := root / f"{page}{s}").exists()), None)
        if path is None:
            raise ValueError(f"_toc.yml names {page}, and there is no {page}.ipynb or {page}.md")
        markdown, cells = read_page(path)
        try:
            places[path.name], equation_labels = anchors(markdown), list(labels(markdown))
            exercise_labels = list(exercises(markdown))
        except ValueError as error:
            raise ValueError(f"{page}: {error}") from error
        titles[path.name] = next(iter(places[path.name].values()), path.stem)
        figure_labels = [*FIGURE_NAME.findall(markdown), *figure_names(cells)]
        counted = (equations, equation_labels), (figures, figure_labels), (tasks, exercise_labels)
        for table, names in counted:
            # The pages of a chapter count on through one another, and so do those without a number.
            prefix = f"{number}." if number else ""
            before = sum(label.rpartition(".")[0] == prefix[:-1] for label in table.values())
            for count, name in enumerate(names, before + 1):
                if name in table:
                    raise ValueError(f"{path.name}: {name!r} is used twice; labels must differ")
                table[name] = f"{prefix}{count}"
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    times = json.loads((root / "results" / "build.json").read_text())["notebooks"]
    return Book(
        titles=titles,
        equations=equations,
        figures=figures,
        exercises=tasks,
        anchors=places,
        works=read_works(root / "book" / "references.bib"),
        seconds={f"{k}.ipynb": v["quick"]["seconds"] for k, v in times.items() if "quick" in v},
        wheel=f"{project['name']}-{project['version']}-py3-none-any.whl",
        address=address,
    )


def text_cell(cell_id: str, text: str) -> dict:
    return {
        "cell_type": "markdown",
        "id": cell_id,
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }


def code_cell(cell_id: str, text: str) -> dict:
    cell = {**text_cell(cell_id, text), "cell_type": "code"}
    return {**cell, "execution_count": None, "outputs": []}


def setup_cell(book: Book) -> dict:
    """The first cell: on Colab it installs the package, or says how to if there is no address to install it from."""
    if repository.on_github(book.address):
        text = INSTALL.format(url=repository.wheel_url(book.address, book.wheel))
    else:
        text = REFUSE.format(wheel=book.wheel)
    return code_cell("colab-setup", text.rstrip("\n"))


def plain_metadata(metadata: dict) -> dict:
    """A code cell's metadata without what only the rendered book reads."""
    kept = {k: v for k, v in metadata.items() if k not in ("mystnb", "tags")}
    tags = [t for t in metadata.get("tags", []) if not t.startswith(("hide-", "remove-"))]
    return kept | ({"tags": tags} if tags else {})


def convert_cell(cell: dict, page: Page) -> list[dict]:
    """The published form of one cell: itself, for a figure with its caption below."""
    if cell["cell_type"] == "markdown":
        return [{**cell, **text_cell(cell["id"], plain(source(cell), page))}]
    if cell["cell_type"] != "code":
        raise ValueError(f"a cell of type {cell['cell_type']!r}; allowed are markdown and code")
    kept = {**cell, "metadata": plain_metadata(cell["metadata"])}
    cells = [{**kept, "execution_count": None, "outputs": []}]
    if figure := cell["metadata"].get("mystnb", {}).get("figure"):
        number = known(page.book.figures, figure["name"], "figure")
        caption = inline(figure["caption"], page)
        cells.append(text_cell(f"{cell['id']}-caption", f"**Fig. {number}** {caption}"))
    return cells


def convert(notebook: dict, name: str, book: Book) -> dict:
    """The notebook `name` (03-gan) in its published form; `notebook` stays as it is.

    Raises:
        ValueError: a cell holds MyST that has no plain form, or names something that does not exist.
    """
    page, cells = Page(book, f"{name}.ipynb"), [setup_cell(book)]
    for cell in notebook["cells"]:
        try:
            cells += convert_cell(cell, page)
        except ValueError as error:
            raise ValueError(f"book/{name}.ipynb, cell {cell['id']}: {error}") from error
    if repository.on_github(book.address):
        add_link(cells, f"{repository.site_url(book.address)}/book/{name}.html")
    if page.cited:
        listed = [f"- {work.reference}" for key, work in book.works.items() if key in page.cited]
        cells.append(text_cell("references", "\n".join(["## References", "", *listed])))
    return {**notebook, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5, "cells": cells}


def add_link(cells: list[dict], url: str) -> None:
    """Put a link to the rendered chapter under the title, which is the first line of the first Markdown cell."""
    first = next(cell for cell in cells if cell["cell_type"] == "markdown")
    lines = source(first).split("\n")
    lines[1:1] = ["", f"[This chapter in the rendered book]({url}), with its results"]
    first["source"] = "\n".join(lines).splitlines(keepends=True)


def branch_readme(root: Path, book: Book) -> str:
    """The README of the published folder: what it is, and the chapters."""
    title = yaml.safe_load((root / "_config.yml").read_text())["title"]
    linked = repository.on_github(book.address)
    lines = [MADE, f"# {title}: the notebooks", ""]
    lines += [
        "The chapters as plain notebooks, without outputs, and the package that they import. They are made from the "
        "book's sources by `python scripts/make_notebooks.py`; please change those and not these."
    ]
    if linked:
        lines += ["", f"[The rendered book]({repository.site_url(book.address)}/) · [its sources]({book.address}) · "
                  f"[all notebooks on Binder]({repository.binder_url(book.address)})"]  # fmt: skip
    lines += ["", "On your computer: `python -m pip install -r requirements.txt jupyterlab`, then "
              "`jupyter lab book`.", ""]  # fmt: skip
    for name, chapter in repository.chapters(root):
        colab = f" · [open in Colab]({repository.colab_url(book.address, name)})" if linked else ""
        lines.append(f"- [{chapter}](book/{name}.ipynb){colab}")
    return "\n".join(lines) + "\n"


def empty(folder: Path) -> None:
    """Empty the folder, all but `.git`. Raises ValueError if it holds something that this script did not write."""
    readme = folder / "README.md"
    ours = readme.is_file() and readme.read_text().startswith(MADE)
    found = [path for path in folder.glob("*") if path.name != ".git"] if folder.exists() else []
    if found and not ours:
        raise ValueError(
            f"{folder} is not empty and was not written by this script; name another folder with --output or empty it"
        )
    for path in found:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def build_wheel(root: Path, folder: Path) -> str:
    """Build the package's wheel into the folder; returns its file name. Raises ValueError with pip's output."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(folder), str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"the wheel was not built:\n{done.stdout}{done.stderr}")
    return next(folder.glob("*.whl")).name


def write(output: Path, root: Path, book: Book, *, wheel: bool = True) -> list[Path]:
    """Write the published folder; returns the notebooks' paths. Nothing is changed if a notebook cannot be converted.

    Raises:
        ValueError: a notebook cannot be converted, the folder is not this script's, or the wheel cannot be built.
    """
    texts = {}
    for path in sorted((root / "book").glob("*.ipynb")):
        if path.name not in book.titles:
            raise ValueError(f"book/{path.name} is not in _toc.yml; add it there, it has no number")
        converted = convert(json.loads(path.read_text()), path.stem, book)
        nbformat.validate(converted)
        texts[f"book/{path.name}"] = nbformat.writes(nbformat.from_dict(converted)) + "\n"
    notebooks = [output / name for name in texts]
    texts["README.md"] = branch_readme(root, book)
    texts["runtime.txt"] = PYTHON + "\n"
    # Binder's own environment holds JupyterLab and the kernel. A path that begins with a dot tells Binder to copy
    # the files before it installs.
    texts["requirements.txt"] = f"./{book.wheel}\n"
    with tempfile.TemporaryDirectory() as folder:
        if wheel and (name := build_wheel(root, Path(folder))) != book.wheel:
            raise ValueError(f"the wheel is {name}, and the notebooks install {book.wheel}")
        empty(output)
        (output / "book").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (output / name).write_text(text)
        if wheel:
            shutil.copy(Path(folder) / book.wheel, output)
    return notebooks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "notebooks")
    parser.add_argument("--no-wheel", action="store_true", help="do not build the package's wheel")
    arguments = parser.parse_args()
    try:
        book = read_book(ROOT, repository.address())
        notebooks = write(arguments.output, ROOT, book, wheel=not arguments.no_wheel)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{len(notebooks)} notebooks in {arguments.output}; address: {book.address or 'not set'}")


if __name__ == "__main__":
    main()
