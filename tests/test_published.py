"""Published notebooks say what the rendered book says, in Markdown that needs no MyST; links follow the repository."""

import copy
import dataclasses
import functools
import importlib.util
import json
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import make_notebooks
import nbformat
import plain_markdown
import pytest
import repository
from bs4 import BeautifulSoup
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "smoke" / "html" / "book"
NAMES = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
ADDRESS = "https://github.com/someone/some-book"

WORKS = {
    "ho": plain_markdown.Work("Ho *et al.*", "2020", "https://arxiv.org/abs/2006.11239", "Ho 2020"),
    "old": plain_markdown.Work("Pearson", "1901", None, "Pearson 1901"),
}
BOOK = plain_markdown.Book(
    titles={"02-concepts.ipynb": "Core concepts", "03-gan.ipynb": "GANs", "faq.md": "Questions"},
    equations={"eq-gan-value": "3.1"},
    figures={"fig-gan-samples": "3.4"},
    exercises={"ex-gan-value": "3.2"},
    anchors={
        "02-concepts.ipynb": {"the-loss": "The loss"},
        "03-gan.ipynb": {"sec-game": "The game"},
        "faq.md": {"why": "Why?"},
    },
    works=WORKS,
    seconds={"03-gan.ipynb": 61.4},
    wheel="imgbook-1.2.3-py3-none-any.whl",
)


@pytest.fixture(autouse=True)
def no_address_from_outside(monkeypatch):
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)


def original(name):
    return json.loads((ROOT / "book" / f"{name}.ipynb").read_text())


@functools.cache
def book(address=None):
    return make_notebooks.read_book(ROOT, address)


@functools.cache
def published(name, address=None):
    return make_notebooks.convert(original(name), name, book(address))


def markdown(notebook):
    texts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join(texts)


def md(source, address=None, name="03-gan.ipynb"):
    page = plain_markdown.Page(dataclasses.replace(BOOK, address=address), name)
    return plain_markdown.plain(source, page)


def words(text):
    """Markdown as a reader sees it: links and emphasis gone, equations numbered as rendered."""
    text = re.sub(r"\\tag\{([^}]+)\}", r"(\1)", text)
    text = re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", text).replace("*", "")
    return re.sub(r"\s+", " ", text)


# The chapters


@pytest.mark.parametrize("address", [None, ADDRESS])
@pytest.mark.parametrize("name", NAMES)
def test_chapter_is_a_valid_notebook_without_myst(name, address):
    notebook = published(name, address)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    prose = re.sub(r"^```.*?^```$", "", markdown(notebook), flags=re.M | re.S)
    prose = re.sub(r"(`+)[^`{]+\1", "", prose)
    for left in (r"\{[\w:.+-]+\}`", r"`{3}", r":{3}", r"\$\$ *\(", r"^\([\w-]+\)=", r"^%", r"\{#"):
        assert not re.search(left, prose, re.M), f"{name}: {re.search(left, prose, re.M)}"
    assert "mystnb" not in json.dumps([cell["metadata"] for cell in notebook["cells"]])
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


@pytest.mark.parametrize("name", NAMES)
def test_numbers_and_citations_are_those_of_the_rendered_page(name):
    path = HTML / f"{name}.html"
    assert path.exists(), f"{path} is missing; build the smoke pages first: make test"
    article = BeautifulSoup(path.read_text(), "html.parser").find("article")
    for link in article.select("a.headerlink"):
        link.decompose()
    shown = article.select(
        "span.eqno, span.caption-number, span.bibtex-citation, span.std-numref, a[href*='#equation-']"
    )
    expected = [re.sub(r"\s+", " ", element.get_text()).strip() for element in shown]
    assert len(expected) > (10 if name[0].isdigit() else 4)  # a chapter has many
    text, at = words(markdown(published(name))), 0
    for reference in expected:
        found = text.find(reference, at)
        assert found >= 0, (
            f"{name}: {reference!r} is not there after {text[max(0, at - 80) : at]!r}"
        )
        at = found + len(reference)
    source = markdown(original(name))
    counts = {
        "span.eqno": len(re.findall(r"\\tag\{", markdown(published(name)))),
        "span.caption-number": len(
            re.findall(r"^\*\*(?:Fig\.|Exercise) \d", markdown(published(name)), re.M)
        ),
        "span.bibtex-citation": len(re.findall(r"\{cite:[pt]\}", source)),
    }
    assert counts == {selector: len(article.select(selector)) for selector in counts}


@pytest.mark.parametrize("name", NAMES)
def test_code_and_its_order_stay(name):
    before = [c for c in original(name)["cells"] if c["cell_type"] == "code"]
    after = [c for c in published(name)["cells"] if c["cell_type"] == "code"]
    assert [c["id"] for c in after] == ["colab-setup", *(c["id"] for c in before)]
    assert [c["source"] for c in after[1:]] == [c["source"] for c in before]


@pytest.mark.parametrize("name", NAMES)
def test_conversion_is_deterministic_and_leaves_the_source_alone(name):
    before = original(name)
    notebook = copy.deepcopy(before)
    assert make_notebooks.convert(notebook, name, make_notebooks.read_book(ROOT)) == published(name)
    assert notebook == before


@pytest.mark.parametrize("name", NAMES)
def test_references_are_the_works_cited(name):
    keys = {k.strip() for found in re.findall(r"\{cite:[pt]\}`([^`]+)`", markdown(original(name)))
            for k in found.split(",")}  # fmt: skip
    listed = "".join(published(name)["cells"][-1]["source"]).splitlines()
    assert listed[0] == "## References"
    assert listed[2:] == [f"- {w.reference}" for key, w in book().works.items() if key in keys]


def test_works_are_in_unicode_and_linked():
    works = book().works
    assert works["oord2016pixelrnn"].authors.replace("\N{NO-BREAK SPACE}", " ") == "van den Oord *et al.*"  # fmt: skip
    assert "Léon Bottou" in works["arjovsky2017principled"].reference
    assert works["odena2016checkerboard"].url == "https://doi.org/10.23915/distill.00003"
    arxiv = works["goodfellow2014gan"]
    assert arxiv.url == "https://arxiv.org/abs/1406.2661"
    assert f"[arXiv:1406.2661]({arxiv.url})" in arxiv.reference
    assert not any(re.search(r"[{}]|\\", work.reference) for work in works.values())


def test_strip_shows_the_measured_time():
    seconds = json.loads((ROOT / "results" / "build.json").read_text())["notebooks"]
    for name in NAMES:
        if "{strip}" in markdown(original(name)):
            line = (
                f"> **Time** {seconds[name]['quick']['seconds']:.0f} s on two cores  \n> **Data** "
            )
            assert line in markdown(published(name))


# Roles and directives


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("as {cite:t}`ho` say", "as Ho *et al.* [[2020](https://arxiv.org/abs/2006.11239)] say"),
        ("so {cite:p}`old, ho`.", "so [[Ho *et al.*, 2020](https://arxiv.org/abs/2006.11239), Pearson, 1901]."),
        ("{eq}`eq-gan-value` and {numref}`fig-gan-samples`", "(3.1) and Fig. 3.4"),
        ("{numref}`figure %s <fig-gan-samples>`", "figure 3.4"),
        ("{ref}`sec-game`, {ref}`above <sec-game>`", "The game, above"),
        ("{term}`latent`, H{sub}`2`O, x{sup}`2`, {math}`x_1`", "latent, H<sub>2</sub>O, x<sup>2</sup>, $x_1$"),
        ("{doc}`02-concepts`", "[Core concepts](02-concepts.ipynb)"),
        ("{doc}`it </book/02-concepts>`", "[it](02-concepts.ipynb)"),
        ("[](02-concepts.ipynb)", "[Core concepts](02-concepts.ipynb)"),
        ("[x](02-concepts.ipynb#the-loss)", "[x](02-concepts.ipynb)"),
        ("[](02-concepts.ipynb#the-loss) [](#fig-gan-samples)", "[The loss](02-concepts.ipynb) Fig. 3.4"),
        ("[](faq.md), [so](faq.md#why)", "Questions, so"),
        ("[page](https://example.org/a_(b))", "[page](https://example.org/a_(b))"),
        ("{cite:t}`old`: a\n  line\n% gone\n(sec-game)=\nend", "Pearson [1901]: a\n  line\nend"),
        ("`{cite:p}` and ``{eq}`x` ``", "`{cite:p}` and ``{eq}`x` ``"),
        ("`$a` {eq}`eq-gan-value` `b$`", "`$a` (3.1) `b$`"),
        ("for $5 {eq}`eq-gan-value`", "for $5 (3.1)"),
        ("$p_{x}$ and $[0, 1](y)$", "$p_{x}$ and $[0, 1](y)$"),
        ("```python\n{eq}`x` $ :::\n% kept\n```", "```python\n{eq}`x` $ :::\n% kept\n```"),
        ("````md\n```{note}\nx\n```\n````", "````md\n```{note}\nx\n```\n````"),
        ("$$\nx\n$$ (eq-gan-value)", "$$\nx\n\\tag{3.1}\n$$"),
        ("$$ x $$ (eq-gan-value)", "$$ x \\tag{3.1} $$"),
        ("$$\nx\n$$", "$$\nx\n$$"),
        ("```{note}\nSee {eq}`eq-gan-value`.\n\nMore.\n```", "> **Note.** See (3.1).\n>\n> More."),
        ("a\n:::{tip}\nb\n:::\nc", "a\n\n> **Tip.** b\n\nc"),
        (":::{warning} now\n:::", "> **Warning.** now"),
        ("```{important}\n- a\n- b\n```", "> **Important.**\n>\n> - a\n> - b"),
        (":::{admonition} Is it {eq}`eq-gan-value`?\nYes.\n:::", "> **Is it (3.1)?** Yes."),
        ("```{margin}\nAside $a\n+b$.\n```", "> Aside $a +b$."),
        ("```{note}\n$$\nx\n$$ (eq-gan-value)\n```", "> **Note.**\n>\n> $$ x \\tag{3.1} $$"),
        ("```{admonition} Answers\n:class: dropdown\n\n1. {eq}`eq-gan-value`\n```",
         "<details>\n<summary>Answers</summary>\n\n1. (3.1)\n\n</details>"),
        ("````{note}\n```{tip}\nx\n```\n````", "> **Note.**\n>\n> > **Tip.** x"),
        ("- a\n\n  ```{note}\n  x\n  ```", "- a\n\n  > **Note.** x"),
        ("```{exercise} By $x$\n:label: ex-gan-value\n\nShow {eq}`eq-gan-value`.\n```",
         "**Exercise 3.2 (By $x$).** Show (3.1)."),
        ("````{exercise}\n:label: ex-gan-value\n\nShow it.\n\n"
         "```{admonition} Hint\n:class: dropdown\nSum.\n```\n````",
         "**Exercise 3.2.** Show it.\n\n<details>\n<summary>Hint</summary>\n\nSum.\n\n</details>"),
        ("As in {ref}`ex-gan-value`", "As in Exercise 3.2"),
        ("```{strip}\nData: digits.\nYou will measure: a share,\nbeside {cite:p}`ho`.\n```",
         "> **Time** 61 s on two cores  \n> **Data** digits.  \n"
         "> **You will measure** a share, beside [[Ho *et al.*, 2020](https://arxiv.org/abs/2006.11239)]."),
    ],
)  # fmt: skip
def test_becomes_plain(source, expected):
    assert md(source) == expected


def test_strip_without_a_measured_time_has_no_such_line():
    assert md("```{strip}\nData: none.\n```", name="02-concepts.ipynb") == "> **Data** none."


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{foo}`x`", "unknown role {foo}"),
        ("{cite:p}`ho,nobody`", "unknown citation 'nobody'"),
        ("{eq}`eq-none`", "unknown equation 'eq-none'; known are: eq-gan-value"),
        ("{numref}`fig-none`", "unknown figure 'fig-none'"),
        ("{ref}`nowhere`", "unknown label 'nowhere'"),
        ("{ref}`words <nowhere>`", "unknown label 'nowhere'"),
        ("[x](09-none.ipynb)", "unknown page '09-none.ipynb'"),
        ("[x](../README.md)", "unknown page"),
        ("[x](faq.md#nowhere)", "unknown place in faq.md: 'nowhere'"),
        ("![x](a.png)", "pictures in text cells"),
        ("$$\nx\n$$ (eq-none)", "unknown equation 'eq-none'"),
        ("$$\nx", "is not closed"),
        ("text $$x$$ text", "no plain form"),
        ("{cite:p}`ho", "a role that is not closed"),
        ("[x]{.red}", "no plain form"),
        ("word[^1]", "no plain form"),
        ("term\n: meaning", "no plain form"),
        ("\\begin{align}\nx\n\\end{align}", "no plain form"),
        ("```{figure} a.png\n```", "unknown directive {figure} a.png"),
        (":::{image} a.png\n:::", "unknown directive {image}"),
        ("```{note}\n```{figure} a.png\n```\n```", "is opened and not closed"),
        (":::\nx\n:::", "names no directive"),
        ("```python\nx", "is opened and not closed"),
        ("> ```{note}\n> x\n> ```", "on a line of its own"),
        ("```{strip}\nwords\n```", "a strip begins with"),
        ("```{exercise}\n:label: ex-none\nx\n```", "unknown exercise 'ex-none'"),
        ("```{exercise}\nx\n```", "unknown exercise ''"),
    ],
)
def test_what_is_unknown_is_refused(source, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        md(source)


def made_up(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_error_names_file_and_cell():
    notebook = made_up(make_notebooks.text_cell("abc", "# T\n\n{foo}`x`"))
    with pytest.raises(ValueError, match=r"book/03-gan\.ipynb, cell abc: unknown role \{foo\}`x`"):
        make_notebooks.convert(notebook, "03-gan", BOOK)


def test_figure_gets_its_caption_and_code_cells_keep_other_metadata():
    figure = {"name": "fig-gan-samples", "caption": "Digits, see {eq}`eq-gan-value`."}
    cell = make_notebooks.code_cell("abc", "draw()")
    cell["metadata"] = {
        "mystnb": {"figure": figure, "image": {"alt": "a"}},
        "tags": ["hide-input", "remove-cell", "raises-exception"],
    }
    _, code, caption = make_notebooks.convert(made_up(cell), "03-gan", BOOK)["cells"]
    assert code["metadata"] == {"tags": ["raises-exception"]}
    assert (caption["id"], caption["source"]) == ("abc-caption", ["**Fig. 3.4** Digits, see (3.1)."])  # fmt: skip


def test_labels_used_twice_are_refused(tmp_path):
    for folder in ("book", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/i\nparts: [{numbered: 1, chapters: [{file: book/c}]}]")  # fmt: skip
    (tmp_path / "book" / "i.md").write_text("# I")
    text = "# C\n\n$$\nx\n$$ (eq-a)\n\n```{note}\n$$\ny\n$$ (eq-a)\n```"
    notebook = made_up(make_notebooks.text_cell("abc", text))
    (tmp_path / "book" / "c.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match=r"c\.ipynb: 'eq-a' is used twice"):
        make_notebooks.read_book(tmp_path)


# The address


def project(folder, urls=""):
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\n{urls}')
    return folder


def test_address_comes_from_the_environment_then_from_pyproject(tmp_path, monkeypatch):
    assert repository.address(project(tmp_path)) is None
    project(tmp_path, f'[project.urls]\nRepository = "{ADDRESS}.git/"\n')
    assert repository.address(tmp_path) == ADDRESS
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    assert repository.address(tmp_path) == ADDRESS
    monkeypatch.setenv("GITHUB_REPOSITORY", "fork/name")
    assert repository.address(tmp_path) == "https://github.com/fork/name"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "http://github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "git@github.com:a/b",
        "https://github.com/a/b c",
        "https://github.com/../b",
        'https://github.com/a/b"',
    ],
)
def test_bad_address_is_refused(bad):
    with pytest.raises(ValueError, match=re.escape(repr(bad)) + r".*https://HOST/OWNER/NAME"):
        repository.checked(bad)


def test_links_that_follow_from_the_address():
    assert repository.site_url(ADDRESS) == "https://someone.github.io/some-book"
    assert repository.site_url("https://github.com/a/a.github.io") == "https://a.github.io"
    assert repository.colab_url(ADDRESS, "03-gan") == (
        "https://colab.research.google.com/github/someone/some-book/blob/notebooks/book/03-gan.ipynb"
    )
    assert repository.wheel_url(ADDRESS, "x.whl") == (
        "https://raw.githubusercontent.com/someone/some-book/notebooks/x.whl"
    )
    with pytest.raises(ValueError, match=r"not on github\.com"):
        repository.site_url("https://example.org/a/b")


def test_address_can_be_written_and_taken_out(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "_toc.yml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "README.md").write_text(f"# T\n\n{repository.BEGIN}\n{repository.END}\n\nend\n")
    (tmp_path / "book").symlink_to(ROOT / "book")
    monkeypatch.setattr(repository, "ROOT", tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["repository.py", *arguments])
        repository.main()
        return [(tmp_path / name).read_text() for name in ("pyproject.toml", "README.md")]

    unset = run("--unset")
    assert "Repository" not in unset[0]
    assert "http" not in unset[1]
    texts = run("https://github.com/first/one")
    assert texts[0].count("Repository = ") == 1
    texts = run(ADDRESS + "/")
    assert repository.declared(tmp_path) == ADDRESS
    assert "first/one" not in "".join(texts)
    assert f"git clone {ADDRESS}\n" in texts[1]
    for name in NAMES:
        assert texts[1].count(repository.colab_url(ADDRESS, name)) == 1
    assert run() == texts
    assert run("--unset") == unset
    (tmp_path / "README.md").write_text(f"{repository.END}\n{repository.BEGIN}")
    with pytest.raises(SystemExit, match=r"README\.md must hold the lines"):
        run(ADDRESS)
    assert (tmp_path / "pyproject.toml").read_text() == unset[0], "written although it failed"


def test_readme_shows_the_address():
    readme = (ROOT / "README.md").read_text()
    section = repository.readme_section(repository.declared(ROOT), ROOT)
    assert repository.with_readme_section(readme, section) == readme, (
        "run: python scripts/repository.py"
    )


def files_with(address, root, names):
    """The text files among `names` that hold OWNER/NAME or the address of the pages."""
    owner, name = address.split("/")[-2:]
    needles = (f"{owner}/{name}".lower(), f"{owner}.github.io/{name}".lower())
    found = []
    for path in names:
        content = (root / path).read_bytes() if (root / path).is_file() else b"\0"
        if b"\0" not in content and any(n.encode() in content.lower() for n in needles):
            found.append(path)
    return found


def test_address_stands_in_two_committed_files_only(tmp_path):
    for name, content in {
        "a.md": f"see {ADDRESS}/issues",
        "b.yml": "site: https://Someone.github.io/some-book/",
        "c.md": "someone/other-book",
        "d.bin": f"\0{ADDRESS}",
    }.items():
        (tmp_path / name).write_text(content)
    names = ["a.md", "b.yml", "c.md", "d.bin", "gone.md"]
    assert files_with(ADDRESS, tmp_path, names) == ["a.md", "b.yml"]

    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    committed = [name for name in listed.stdout.decode().split("\0") if name]
    address = repository.declared(ROOT)
    if address:
        assert files_with(address, ROOT, committed) == ["README.md", "pyproject.toml"]
    else:
        texts = [ROOT / "README.md", *(ROOT / "book").glob("*.md"), *(ROOT / "book").glob("*.ipynb")]  # fmt: skip
        for path in texts:
            for link in ("colab.research.google.com/github/", "raw.githubusercontent.com/"):
                assert link not in path.read_text(), f"{path.name} links to {link}, address unset"


def test_without_an_address_nothing_leads_to_a_repository():
    for name in NAMES:
        text = json.dumps(published(name))
        assert not re.search(r"colab\.research|githubusercontent|mybinder|github\.io", text), name
    readme = make_notebooks.branch_readme(ROOT, book())
    assert "http" not in readme
    assert all(f"(book/{name}.ipynb)" in readme for name in NAMES)


def test_with_an_address_pages_link_to_each_other_and_to_the_book():
    for name in NAMES:
        text = markdown(published(name, ADDRESS))
        rendered = f"https://someone.github.io/some-book/book/{name}.html"
        lines = text.splitlines()
        assert lines[0].startswith("# ")
        assert lines[1:4] == ["", f"[This chapter in the rendered book]({rendered}), with its results", ""]  # fmt: skip
        assert not re.search(r"\]\([^)/]+\.(ipynb|md)", text), f"{name} links to a file"
    text = md("[a](02-concepts.ipynb) [b](faq.md#why)", address=ADDRESS)
    assert text == (
        f"[a]({repository.colab_url(ADDRESS, '02-concepts')}) "
        "[b](https://someone.github.io/some-book/book/faq.html#why)"
    )
    readme = make_notebooks.branch_readme(ROOT, book(ADDRESS))
    assert all(repository.colab_url(ADDRESS, name) in readme for name in NAMES)


# The first cell


def run_first_cell(address):
    """Run it as IPython would; returns the line magics it calls."""
    magics = []
    shell = types.SimpleNamespace(run_line_magic=lambda *call: magics.append(call))
    source = "".join(published("03-gan", address)["cells"][0]["source"])
    exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
    return magics


def colab(monkeypatch, *, installed=False):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_first_cell_does_nothing_elsewhere(address):
    assert "google.colab" not in sys.modules
    assert run_first_cell(address) == []


def test_first_cell_installs_the_wheel_on_colab(monkeypatch):
    colab(monkeypatch)
    url = repository.wheel_url(ADDRESS, book().wheel)
    assert run_first_cell(ADDRESS) == [("pip", f"install --quiet {url}")]


def test_first_cell_says_what_is_missing_on_colab_without_an_address(monkeypatch):
    colab(monkeypatch)
    with pytest.raises(RuntimeError, match=rf"%pip install {re.escape(book().wheel)}"):
        run_first_cell(None)
    colab(monkeypatch, installed=True)
    assert run_first_cell(None) == []


# The folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_is_the_same_after_two_runs(tmp_path):
    output = tmp_path / "out"
    make_notebooks.write(output, ROOT, book(), wheel=False)
    first = contents(output)
    others = {"README.md", "requirements.txt", "runtime.txt"}
    assert set(first) == {f"book/{name}.ipynb" for name in NAMES} | others
    assert first["requirements.txt"].decode() == f"./{book().wheel}\n"
    (output / "book" / "old.ipynb").write_text("{}")
    (output / ".git").write_text("kept")
    make_notebooks.write(output, ROOT, book(), wheel=False)
    assert contents(output) == first | {".git": b"kept"}


def test_folder_of_others_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        make_notebooks.write(tmp_path, ROOT, book(), wheel=False)
    assert contents(tmp_path) == {"README.md": b"mine"}


def test_folder_stays_when_a_notebook_cannot_be_converted(tmp_path):
    make_notebooks.write(tmp_path, ROOT, book(), wheel=False)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="unknown citation"):
        make_notebooks.write(tmp_path, ROOT, dataclasses.replace(book(), works={}), wheel=False)
    assert contents(tmp_path) == before


def test_wheel_holds_data_judge_and_records(tmp_path):
    assert make_notebooks.build_wheel(ROOT, tmp_path) == book().wheel
    held = set(zipfile.ZipFile(tmp_path / book().wheel).namelist())
    package = ROOT / "src" / "imgbook"
    wanted = {f"imgbook/embedded/{path.name}" for path in (package / "embedded").iterdir()}
    wanted |= {f"imgbook/results/{path.name}" for path in (ROOT / "results").glob("*.json")}
    wanted |= {f"imgbook/{path.name}" for path in package.glob("*.py")}
    assert wanted | {"imgbook/judge.safetensors"} <= held
