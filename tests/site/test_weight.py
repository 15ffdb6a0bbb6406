"""What a page makes a reader load, compressed: the document, its style sheets and its scripts."""

import gzip
import json
from urllib.parse import urlsplit

import pytest
from browsing import open_page, window
from playwright.sync_api import Browser, Response
from site_config import PAGES, SCREENS

LIMIT = 900_000
KINDS = ("document", "stylesheet", "script")


def weigh(browser: Browser, base: str, name: str) -> dict[str, int]:
    """Compressed bytes of each file of a page that counts, the heaviest first."""
    responses: list[Response] = []
    with window(browser) as context:
        page = context.new_page()
        page.on("response", lambda response: responses.append(response))
        open_page(page, f"{base}/{name}.html")
        bodies = {
            urlsplit(response.url).path.lstrip("/"): response.body()
            for response in responses
            if response.request.resource_type in KINDS
        }
    sizes = {path: len(gzip.compress(body, 9, mtime=0)) for path, body in bodies.items()}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


@pytest.fixture(scope="module")
def weights(browser: Browser, http: str) -> dict[str, dict]:
    """The files of every page; also written down for who wants to know where the bytes are."""
    files = {name: weigh(browser, http, name) for name in PAGES}
    found = {name: {"total": sum(sizes.values()), "files": sizes} for name, sizes in files.items()}
    SCREENS.mkdir(parents=True, exist_ok=True)
    (SCREENS / "weights.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_page_is_light(weights: dict[str, dict], name: str):
    total, files = weights[name]["total"], weights[name]["files"]
    assert f"{name}.html" in files, f"{name}: the document itself was not weighed"
    assert any(path.endswith(".css") for path in files), f"{name}: no style sheet was weighed"
    assert any(path.endswith(".js") for path in files), f"{name}: no script was weighed"
    heaviest = ", ".join(f"{path} {size:,}" for path, size in list(files.items())[:5])
    assert total <= LIMIT, f"{name}: {total:,} bytes, {LIMIT:,} allowed; heaviest: {heaviest}"
