#!/usr/bin/env python3
"""The repository's address, kept in one place: [project.urls] Repository in pyproject.toml.

    python scripts/repository.py https://github.com/OWNER/NAME    # write it there, and the links into the README
    python scripts/repository.py --unset                          # take both out
    python scripts/repository.py                                  # write the README's links anew

On GitHub Actions the address comes from the environment, so a fork's pages and notebooks lead to the fork.
"""

import argparse
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_BRANCH = "notebooks"  # published notebooks live on it
BEGIN = "<!-- repository: begin (scripts/repository.py) -->"
END = "<!-- repository: end -->"
ADDRESS = re.compile(r"https://([\w-][\w.-]*(?::\d+)?)/([\w.-]*\w[\w.-]*)/([\w.-]*\w[\w.-]*)", re.A)
SECTION = re.compile(r"^\[project\.urls\]\n((?:(?!\[).*\n?)*)", re.M)


def checked(address: str) -> str:
    """The address without a trailing slash or `.git`. Raises ValueError unless it is https://HOST/OWNER/NAME."""
    short = address.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(short):
        raise ValueError(
            f"the repository's address is {address!r}; it must look like https://HOST/OWNER/NAME. "
            "Set it with: python scripts/repository.py https://github.com/OWNER/NAME"
        )
    return short


def declared(root: Path = ROOT) -> str | None:
    """The address in pyproject.toml, None if there is none. Raises ValueError if it does not look like one."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository")
    return None if address is None else checked(address)


def address(root: Path = ROOT) -> str | None:
    """The address that GitHub Actions gives, else the one in pyproject.toml, else None. Raises ValueError if bad."""
    server, repository = (os.environ.get(f"GITHUB_{x}") for x in ("SERVER_URL", "REPOSITORY"))
    return checked(f"{server}/{repository}") if server and repository else declared(root)


def on_github(address: str | None) -> bool:
    """Whether Colab and GitHub Pages can serve what is at the address."""
    return address is not None and ADDRESS.fullmatch(checked(address))[1] == "github.com"


def owner_and_name(address: str) -> tuple[str, str]:
    """OWNER and NAME. Raises ValueError for a host other than github.com: Colab and GitHub Pages serve no other."""
    if not on_github(address):
        raise ValueError(
            f"{address!r} is not on github.com, and only for https://github.com/OWNER/NAME are there "
            "addresses on Colab and GitHub Pages; make no such links for it"
        )
    _, owner, name = ADDRESS.fullmatch(checked(address)).groups()
    return owner, name


def site_url(address: str) -> str:
    """Where GitHub Pages serves the rendered book, without a trailing slash. Raises as `owner_and_name`."""
    owner, name = owner_and_name(address)
    user_site = name.lower() == f"{owner}.github.io".lower()  # served from the root
    return f"https://{owner}.github.io" + ("" if user_site else f"/{name}")


def colab_url(address: str, name: str) -> str:
    """Where Colab opens the published notebook `name`, e.g. 03-gan. Raises as `owner_and_name`."""
    path = "/".join(owner_and_name(address))
    return (
        f"https://colab.research.google.com/github/{path}/blob/{NOTEBOOK_BRANCH}/book/{name}.ipynb"
    )


def binder_url(address: str) -> str:
    """Where Binder opens all published notebooks. Raises as `owner_and_name`."""
    path = "/".join(owner_and_name(address))
    return f"https://mybinder.org/v2/gh/{path}/{NOTEBOOK_BRANCH}?urlpath=lab/tree/book"


def wheel_url(address: str, wheel_name: str) -> str:
    """Where the published wheel can be installed from. Raises as `owner_and_name`."""
    path = "/".join(owner_and_name(address))
    return f"https://raw.githubusercontent.com/{path}/{NOTEBOOK_BRANCH}/{wheel_name}"


def pages(root: Path = ROOT) -> list[tuple[str, int | None]]:
    """Every page of _toc.yml with the number of its chapter: [("book/01-background", 1), ...]; None outside numbered
    parts. A chapter comes before the pages within it.
    """
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    found: list[tuple[str, int | None]] = [(toc["root"], None)]
    number = 0
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            number += bool(part.get("numbered"))
            files = [chapter["file"], *(section["file"] for section in chapter.get("sections", []))]
            found += [(file, number if part.get("numbered") else None) for file in files]
    return found


def chapters(root: Path = ROOT) -> list[tuple[str, str]]:
    """Name and title of each notebook, a chapter's with its number: [("01-background", "1 Background: ..."), ...]."""
    found = []
    numbers = set()
    for page, number in pages(root):
        begins = number not in numbers  # otherwise it is a page within a chapter
        numbers.add(number)
        path = root / f"{page}.ipynb"
        if path.exists():
            first = "".join(json.loads(path.read_text())["cells"][0]["source"])
            title = first.splitlines()[0].removeprefix("# ").strip()
            found.append((path.stem, f"{number} {title}" if number and begins else title))
    return found


def readme_section(address: str | None, root: Path = ROOT) -> str:
    """What stands between the README's markers: the clone command and links; an empty string without an address."""
    if address is None:
        return ""
    lines = ["```sh", f"git clone {address}", "```"]
    if on_github(address):
        links = [
            f"[{title.partition(':')[0]}]({colab_url(address, name)})"
            for name, title in chapters(root)
        ]
        lines += ["", f"Read [the rendered book]({site_url(address)}/), or run a chapter on Colab: "
                  + " · ".join(links) + "."]  # fmt: skip
    return "\n".join(lines)


def with_readme_section(text: str, section: str) -> str:
    """The README's text with the section between its markers. Raises ValueError unless each marker is there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(
            f"README.md must hold the lines\n{BEGIN}\n{END}\nonce each and in this order; "
            "add them where the links are to stand"
        )
    return f"{before}{BEGIN}\n{section}{chr(10) * bool(section)}{END}{after}"


def with_repository(text: str, address: str | None) -> str:
    """The text of pyproject.toml with this address, or without one. Raises ValueError if it cannot be placed."""
    found = SECTION.search(text)
    others = re.sub(r"^Repository\s*=.*\n?", "", found[1] if found else "", flags=re.M)
    body = (f'Repository = "{address}"\n' if address else "") + others
    section = f"[project.urls]\n{body}" if body.strip() else ""
    if found:
        new = text[: found.start()] + section + text[found.end() :]
    elif section:
        following = re.search(r"^\[project\.", text, re.M)
        at = following.start() if following else len(text)
        new = text[:at] + ("" if following else "\n") + section + "\n" + text[at:]
    else:
        new = text
    new = new.rstrip("\n") + "\n"
    if tomllib.loads(new)["project"].get("urls", {}).get("Repository") != address:
        raise ValueError(
            "pyproject.toml gives the address in a form that this script does not read; "
            'write it as a line Repository = "..." below a line [project.urls]'
        )
    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("address", nargs="?", help="https://HOST/OWNER/NAME")
    choice.add_argument("--unset", action="store_true", help="take the address and the links out")
    arguments = parser.parse_args()
    project, readme = ROOT / "pyproject.toml", ROOT / "README.md"
    try:
        new = checked(arguments.address) if arguments.address else None
        if not arguments.address and not arguments.unset:
            new = declared(ROOT)
        # Both texts before either is written: a missing marker leaves everything as it was.
        texts = {
            project: with_repository(project.read_text(), new),
            readme: with_readme_section(readme.read_text(), readme_section(new, ROOT)),
        }
    except ValueError as error:
        sys.exit(str(error))
    for path, text in texts.items():
        path.write_text(text)
    print(f"address: {new or 'not set'}; written to pyproject.toml and README.md")


if __name__ == "__main__":
    main()
