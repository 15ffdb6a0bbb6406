#!/usr/bin/env python3
"""Execute the notebooks and render the book.

    python scripts/build_book.py [--preset quick|smoke|full] [--strict] [--solutions]

`quick` and `full` go to _build/html, `smoke` to _build/smoke/html. With --solutions the pages of book/solutions are
built too, and all goes to _build/solutions/html (smoke: _build/smoke-solutions/html): the book for those who teach.
Executed notebooks are cached under _build/cache in a folder named after the preset and a hash of everything a result
depends on besides the cells themselves (the cells are jupyter-cache's own key): package sources and data, lock file,
result records, Python version. When that hash changes, the pages are read anew too, so that none can show what older
code or another preset gave. At preset smoke, where nothing is timed, two notebooks are executed at a time before the
pages are read.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import light_css
import make_notebooks
import nbformat
import repository
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
# Minified: if the page has loaded, start the watch, else when it has.
WATCH = re.compile(
    r',"complete"===document\.readyState\?(\w+)\(\):window\.addEventListener\("load",\1\)'
)


def result_key(preset: str, root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits over what results depend on besides the cells."""
    files = [
        *(root / "src").rglob("*"),
        *(path for path in (root / "results").glob("*.json") if path.name != "build.json"),
        root / "requirements.lock",
    ]
    files = [
        f for f in files if f.is_file() and "__pycache__" not in f.parts and f.suffix != ".pyc"
    ]
    digest = hashlib.sha256(f"{preset} {sys.version}".encode())
    if preset == "full":  # whole data sets lie outside the checkout
        digest.update(os.environ.get("IMGBOOK_DATA_MIRROR", "").encode())
    for path in sorted(files):
        digest.update(
            str(path.relative_to(root)).encode()
            + b"\0"
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest.hexdigest()[:16]


def page_key(root: Path = ROOT) -> str:
    """Sixteen hexadecimal digits over what the look of the pages depends on, besides the pages themselves."""
    files = [*(root / "book" / "_ext").glob("*.py"), *(root / "book" / "_templates").glob("*")]
    digest = hashlib.sha256()
    for path in sorted([*files, *(root / "results").glob("*.json")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def with_address(config: dict, address: str | None) -> dict:
    """The configuration, with buttons to the repository and the published notebooks if there is an address."""
    if address is None:
        return config
    html = config["html"] | {"use_repository_button": True, "use_issues_button": True}
    where = {"url": address, "path_to_book": "", "branch": repository.NOTEBOOK_BRANCH}
    launch = config["launch_buttons"]
    if repository.on_github(address):
        launch = launch | {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }
    return config | {"html": html, "repository": where, "launch_buttons": launch}


def with_solutions(toc: dict, root: Path = ROOT) -> dict:
    """The table of contents with the pages of solutions, in the order of the chapters that they belong to."""
    stems = [name.rpartition("/")[2] for name, _ in repository.pages(root)]
    found = {path.stem: path for path in (root / "book" / "solutions").glob("*.md")}
    if unknown := set(found) - set(stems):
        raise ValueError(f"book/solutions/{min(unknown)}.md belongs to no page of the book")
    files = [{"file": f"book/solutions/{stem}"} for stem in stems if stem in found]
    return toc | {"parts": [*toc["parts"], {"caption": "Solutions", "chapters": files}]}


def executed(path: Path, timeout: int) -> tuple[nbformat.NotebookNode, float] | None:
    """A notebook with its outputs and its seconds, or None if a cell raised: building the page says where."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    result = single_nb_execution(
        notebook, cwd=str(path.parent), timeout=timeout, allow_errors=False, meta_override=True
    )
    return None if result.err else (notebook, result.time)


def execute_ahead(notebooks: list[Path], folder: Path, timeout: int, jobs: int = 2) -> list[Path]:
    """Execute those of the notebooks that the cache `folder` does not hold, `jobs` at a time, into the cache as
    MyST-NB does it; returns what was executed.
    """
    cache = get_cache(folder)
    missing = []
    for path in notebooks:
        try:
            cache.match_cache_file(str(path))
        except KeyError:
            missing.append(path)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {path: pool.submit(executed, path, timeout) for path in missing}
        for path, future in running.items():
            if found := future.result():
                notebook, seconds = found
                bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return missing


def slowest_first(root: Path = ROOT) -> list[Path]:
    """The book's notebooks, those first that took longest at preset smoke."""
    measured = json.loads((root / "results" / "build.json").read_text())["notebooks"]
    paths = [
        path for name, _ in repository.pages(root) if (path := root / f"{name}.ipynb").exists()
    ]
    return sorted(
        paths, key=lambda p: -measured.get(p.stem, {}).get("smoke", {}).get("seconds", 60)
    )


def drop_watch(script: Path) -> None:
    """Take from the theme's script its watch over what scrolls, which lays out the whole page again and again.

    book.js keeps one that looks only at what is near the screen.

    Raises:
        ValueError: the script is another, and has no such watch.
    """
    text, found = WATCH.subn("", script.read_text(encoding="utf-8"))
    if found != 1:
        raise ValueError(f"{script.name} has changed: build_book.WATCH does not find its watch")
    script.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--preset",
        choices=("smoke", "quick", "full"),
        default=os.environ.get("IMGBOOK_PRESET", "quick"),
    )
    parser.add_argument(
        "--strict", action="store_true", help="warnings are errors, and values outside bands too"
    )
    parser.add_argument(
        "--solutions",
        action="store_true",
        default=os.environ.get("IMGBOOK_SOLUTIONS") == "1",
        help="with the solutions of the exercises (also IMGBOOK_SOLUTIONS=1)",
    )
    arguments = parser.parse_args()
    preset, key = arguments.preset, result_key(arguments.preset)
    chosen = {"smoke": preset == "smoke", "solutions": arguments.solutions}
    folder = "-".join(name for name, wanted in chosen.items() if wanted)
    work = BUILD / "work" / (folder or "book")  # Jupyter Book adds a folder _build below it
    html = BUILD / folder / "html"
    cache = BUILD / "cache" / f"{preset}-{key}"

    stamp, keys = work / "key", f"{cache.name} {page_key()}"
    if not stamp.exists() or stamp.read_text() != keys:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        stamp.write_text(keys)
    for old in (BUILD / "cache").glob(f"{preset}-*"):
        if old != cache:
            shutil.rmtree(old)

    address = repository.address()
    config = with_address(yaml.safe_load((ROOT / "_config.yml").read_text()), address)
    config["execute"]["cache"] = str(cache)
    # Their paths count from the configuration, which is not at the root.
    extensions = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {name: str(ROOT / p) for name, p in extensions.items()}
    config_path = work / "_config.yml"
    config_text = yaml.safe_dump(config, sort_keys=False)
    if not config_path.exists() or config_path.read_text() != config_text:
        config_path.write_text(config_text)

    toc = ROOT / "_toc.yml"
    if arguments.solutions:
        contents = with_solutions(yaml.safe_load(toc.read_text()))
        toc = work / "_toc.yml"
        toc.write_text(yaml.safe_dump(contents, sort_keys=False))
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(ROOT),
    ]
    command += [
        "--config",
        str(config_path),
        "--toc",
        str(toc),
        "--path-output",
        str(work),
    ]
    if arguments.strict:
        command += ["-W", "-n", "--keep-going"]
    environment = {**os.environ, "IMGBOOK_PRESET": preset, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if arguments.strict and preset == "quick":
        environment["IMGBOOK_STRICT"] = "1"
    begin = time.perf_counter()
    if preset == "smoke":
        os.environ.update(environment)
        execute_ahead(slowest_first(), cache, config["execute"]["timeout"])
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if code:
        print(
            f"the book was not built (exit code {code}); the reason stands above", file=sys.stderr
        )
        return code
    shutil.rmtree(html, ignore_errors=True)
    shutil.copytree(work / "_build" / "html", html)
    # Sphinx copies no static files when no page has changed.
    shutil.copytree(ROOT / "book" / "_static", html / "_static", dirs_exist_ok=True)
    light_css.combine(html)
    drop_watch(html / "_static" / "scripts" / "pydata-sphinx-theme.js")
    # Readers download the plain notebooks, which open anywhere, and not the book's sources.
    plain = make_notebooks.read_book(ROOT, address)
    make_notebooks.write(html / "notebooks", ROOT, plain, wheel=False)
    print(
        f"built in {time.perf_counter() - begin:.0f} s at preset {preset}; open {html.relative_to(ROOT)}/index.html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
