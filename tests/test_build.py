"""The key of the execution cache follows all that results depend on; the README follows the records."""

import json
from pathlib import Path

import build_book
import measure
import pytest

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
