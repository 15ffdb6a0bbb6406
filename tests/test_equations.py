"""Every numbered equation of chapters 2 to 5 has a function and a test, which notices a wrong sign or factor."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import equation_index
import pytest

ROOT = Path(__file__).parents[1]
IN_CODE = [label for label, entry in equation_index.load().items() if "code" in entry]


def test_the_index_is_complete_and_right():
    found = list(equation_index.problems())
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def flips() -> dict[str, dict]:
    """What `scripts/flip_equations.py` says of each label; one process for all imports the libraries once."""
    command = [sys.executable, "scripts/flip_equations.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert found, run.stderr
    return {line["label"]: line for line in found}


@pytest.mark.parametrize("label", IN_CODE)
def test_a_wrong_sign_or_factor_is_noticed(flips, label):
    entry, found = equation_index.load()[label], flips[label]
    old, new = entry["flip"]
    assert "error" not in found, f"book/equations.json: {label}: {found['error']}"
    assert found["caught"], (
        f"book/equations.json: {label}: with {new!r} in place of {old!r} in {entry['code']}, "
        f"{entry['test']} still passes"
    )


def test_without_a_flip_the_test_passes():
    """The control: what notices a flip is the flip, and not how the test is run."""
    command = [
        sys.executable,
        "scripts/flip_equations.py",
        "--unchanged",
        "eq-vae-kl",
        "eq-gan-value",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [json.loads(line)["caught"] for line in run.stdout.splitlines()] == [False, False]


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("a - b", "a + b", True),
        ("-f(x", "f(x", True),
        ("f(x)", "2 * f(x)", True),
        ("x / 2", "x / 4", True),
        ("a - b", "a - c", False),
        ("f(x)", "g(x)", False),
        ("a + b", "a  +  b", False),
        ("x < 2", "x > 2", False),
    ],
)
def test_a_flip_is_a_sign_or_a_factor(old, new, allowed):
    assert equation_index.is_sign_or_factor(old, new) is allowed


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that the index reads, to be spoilt."""
    for name in ("_toc.yml", "book", "src/imgbook", "tests"):
        source = ROOT / name
        if source.is_file():
            shutil.copy(source, tmp_path / name)
        else:
            wanted = shutil.ignore_patterns(
                "*.npz", "*.safetensors", "_*", "site", "*.md", "embedded", "data"
            )
            shutil.copytree(source, tmp_path / name, ignore=wanted)
    return tmp_path


def spoilt(root: Path, label: str, **changes: object) -> list[str]:
    """The problems after an entry was changed; None takes a key out."""
    path = root / "book" / "equations.json"
    entries = json.loads(path.read_text())
    entries[label] = {k: v for k, v in (entries.get(label, {}) | changes).items() if v is not None}
    path.write_text(json.dumps({k: v for k, v in entries.items() if v}))
    return list(equation_index.problems(root))


NOTHING = {"code": None, "test": None, "flip": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (NOTHING, "book/05-vae.ipynb: eq-vae-kl has no entry in book/equations.json"),
        (
            {"test": "tests/test_vae.py::test_none"},
            "tests/test_vae.py::test_none, which does not exist",
        ),
        ({"code": "vae_terms.none"}, "src/imgbook/vae_terms.py has no none"),
        ({"code": "nowhere.none"}, "there is no src/imgbook/nowhere.py"),
        ({"flip": ["not there", "not there -"]}, "stands there 0 times, not once"),
        ({"flip": ["mean**2", "logvar**2"]}, "changes more than a sign or a factor"),
        ({**NOTHING, "kind": "guess", "why": "x"}, "needs kind (definition or derivation) and why"),
    ],
)
def test_what_is_wrong_in_the_index_is_named(copy, changes, words):
    (problem,) = spoilt(copy, "eq-vae-kl", **changes)
    assert words in problem


def test_an_entry_without_an_equation_is_named(copy):
    (problem,) = spoilt(copy, "eq-no-such", kind="definition", why="x")
    assert problem == "book/equations.json: eq-no-such is no equation of chapters 2 to 5"


def test_too_few_equations_in_code_are_counted(copy):
    entries = {key: {"kind": "definition", "why": "x"} for key in equation_index.load(copy)}
    (copy / "book" / "equations.json").write_text(json.dumps(entries))
    (problem,) = equation_index.problems(copy)
    assert problem == (
        f"book/equations.json: {len(entries)} of {len(entries)} equations have no code; at most 40 % may"
    )


def test_the_table_names_function_and_test_of_each():
    table = equation_index.table()
    entries = equation_index.load()
    assert table.count("{eq}`") == len(entries)
    row = next(line for line in table.splitlines() if "eq-vae-kl`" in line)
    assert "`vae_terms.gaussian_kl`" in row
    assert "`test_vae.py`<br>`test_gaussian_kl_equals_quadrature`" in row
