"""The key of the execution cache follows all that results depend on; the README follows the records."""

import json
from pathlib import Path

import build_book
import measure
import nbformat
import pytest
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tree(tmp_path):
    """A small checkout."""
    for name, content in {
        "src/imgbook/vae.py": "a",
        "src/imgbook/embedded/mnist.npz": "b",
        "results/vae.json": "c",
        "requirements.lock": "d",
        "book/05-vae.ipynb": "e",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "src/imgbook/vae.py",
        "src/imgbook/embedded/mnist.npz",
        "results/vae.json",
        "requirements.lock",
    ],
)
def test_key_changes_with_what_results_depend_on(tree, name):
    before = build_book.result_key("quick", tree)
    (tree / name).write_text("changed")
    changed = build_book.result_key("quick", tree)
    (tree / name).rename(tree / f"{name}.old")
    if name != "requirements.lock":
        assert build_book.result_key("quick", tree) not in (before, changed)
        (tree / f"{name}.old").rename(tree / name)
    assert changed != before


@pytest.mark.parametrize(
    "name", ["src/imgbook/new.py", "src/imgbook/judge.safetensors", "results/new.json"]
)
def test_key_changes_with_a_new_file_and_returns_without_it(tree, name):
    before = build_book.result_key("quick", tree)
    (tree / name).write_text("")
    assert build_book.result_key("quick", tree) != before
    (tree / name).unlink()
    assert build_book.result_key("quick", tree) == before


def test_key_changes_with_the_preset_and_has_sixteen_digits(tree):
    keys = {build_book.result_key(preset, tree) for preset in ("smoke", "quick", "full")}
    assert len(keys) == 3
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)


def test_key_changes_with_the_mirror_at_full_only(tree, monkeypatch):
    before = {preset: build_book.result_key(preset, tree) for preset in ("quick", "full")}
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", "/somewhere")
    assert build_book.result_key("quick", tree) == before["quick"]
    assert build_book.result_key("full", tree) != before["full"]


@pytest.mark.parametrize(
    "name",
    [
        "src/imgbook/__pycache__/vae.cpython-311.pyc",
        "src/imgbook/vae.pyc",
        "book/06-new.ipynb",
        "README.md",
        "results/build.json",
    ],
)
def test_key_does_not_follow_bytecode_or_pages(tree, name):
    """Cells are jupyter-cache's own key; times of the build only stand on pages."""
    before = build_book.result_key("quick", tree)
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text("x")
    assert build_book.result_key("quick", tree) == before


def test_key_does_not_depend_on_where_the_checkout_is(tree, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "checkout"
    before = build_book.result_key("quick", tree)
    tree.rename(moved)
    assert build_book.result_key("quick", moved) == before


def test_readme_shows_the_measurements_and_the_records():
    section = measure.readme_section(json.loads((ROOT / "results" / "build.json").read_text()))
    assert section in (ROOT / "README.md").read_text(), "run: python scripts/measure.py --readme"


@pytest.mark.parametrize("name", ["book/_ext/a.py", "book/_templates/a.html", "results/build.json"])
def test_pages_are_read_anew_when_their_look_changes(tree, name):
    before = build_book.page_key(tree)
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text("x")
    assert build_book.page_key(tree) != before


def test_address_brings_buttons_and_their_branch():
    config = {"html": {"use_repository_button": False}, "launch_buttons": {"thebe": False}}
    assert build_book.with_address(config, None) == config
    with_buttons = build_book.with_address(config, "https://github.com/someone/course")
    assert with_buttons["html"]["use_repository_button"]
    assert with_buttons["launch_buttons"]["colab_url"].startswith("https://colab.")
    assert with_buttons["repository"] == {
        "url": "https://github.com/someone/course",
        "path_to_book": "",
        "branch": "notebooks",  # where the published notebooks are
    }
    elsewhere = build_book.with_address(config, "https://git.example.org/someone/course")
    assert "colab_url" not in elsewhere["launch_buttons"]


def small_notebook(path, code):
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_markdown_cell("words")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_notebooks_executed_ahead_are_found_in_the_cache(tmp_path):
    """Once: a second call has nothing to do. One that raises is left to the building of its page."""
    there = "import pathlib\nprint(6 * 7, pathlib.Path.cwd().name)"
    right, wrong = (small_notebook(tmp_path / f"{name}.ipynb", code)
                    for name, code in (("right", there), ("wrong", "1 / 0")))  # fmt: skip
    folder = tmp_path / "cache"
    assert build_book.execute_ahead([right, wrong], folder, timeout=60) == [right, wrong]
    cache = get_cache(folder)
    entry = cache.match_cache_file(str(right))
    assert cache.get_cache_bundle(entry.pk).nb.cells[0].outputs[0].text == f"42 {tmp_path.name}\n"
    assert entry.data["execution_seconds"] > 0
    with pytest.raises(KeyError):
        cache.match_cache_file(str(wrong))
    assert build_book.execute_ahead([right], folder, timeout=60) == []


def test_all_notebooks_are_executed_ahead():
    assert sorted(build_book.slowest_first()) == sorted((ROOT / "book").glob("*.ipynb"))


def test_the_watch_over_what_scrolls_goes_and_nothing_else(tmp_path):
    path = tmp_path / "theme.js"
    watch = ',"complete"===document.readyState?I():window.addEventListener("load",I)'
    path.write_text(f"(()=>{{a(){watch}}})();")
    build_book.drop_watch(path)
    assert path.read_text() == "(()=>{a()})();"
    with pytest.raises(ValueError, match=r"theme\.js has changed"):
        build_book.drop_watch(path)
