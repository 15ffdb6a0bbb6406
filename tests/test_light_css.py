"""The site's one style sheet keeps every rule that a page or script can use, and points to the same files."""

import light_css
import pytest
import tinycss2

PAGE = """<html><head>
    <link rel="stylesheet" type="text/css" href="{up}_static/styles/theme.css?v=1" />
    <link href="{up}_static/book.css" rel="stylesheet" />
<link rel="icon" href="{up}_static/icon.svg" />
</head><body class="page" id="top">{body}</body></html>"""


@pytest.fixture
def site(tmp_path):
    """Two pages, a script that adds a class, and three style sheets, one of them imported."""
    files = {
        "index.html": PAGE.format(up="", body="<p class='lead'></p>"),
        "book/a.html": PAGE.format(up="../", body="<svg><g class='drawn'/></svg>"),
        "_static/template.html": '<link rel="stylesheet" href="{{ pathto(1) }}" />',
        "_static/a.js": "element.classList.add('opened')",
        "_static/styles/theme.css": """@import "../basic.css";
/* a comment */
.page, .missing { color: red }
.unknown > p { color: red }
.drawn { color: red }
@media (min-width: 3px) { .opened:not(.never) { background: url(../img/x.png) } .unknown { top: 0 } }
@media print { .unknown { top: 0 } }
@font-face { font-family: "F"; src: url("fonts/f.woff2?v=2#iefix") }""",
        "_static/basic.css": "p { margin: 0 }",
        "_static/book.css": ".lead{background:url(\"data:image/svg+xml,%3Csvg xmlns='a'/%3E\")}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_combine_keeps_what_can_be_used_in_order(site):
    text = light_css.combine(site).read_text()
    for kept in ("p{margin: 0}", ".page{color: red}", "data:image/svg+xml,%3Csvg xmlns='a'/%3E"):
        assert kept in text
    for dropped in ("missing", "unknown", "drawn", "comment", "print", "@import"):
        assert dropped not in text
    assert text.index("p{margin") < text.index(".page{") < text.index(".lead{")
    assert ".opened:not(.never){background: url(img/x.png)}" in text  # from _static/styles
    assert 'url("styles/fonts/f.woff2?v=2#iefix")' in text


def test_every_page_loads_the_one_style_sheet(site):
    light_css.combine(site)
    for name, up in (("index.html", ""), ("book/a.html", "../")):
        page = (site / name).read_text()
        assert page.count("stylesheet") == 1
        assert f'<link rel="stylesheet" href="{up}_static/site.css" />' in page
        assert f'<link rel="icon" href="{up}_static/icon.svg" />' in page
    assert "pathto" in (site / "_static" / "template.html").read_text()


@pytest.mark.parametrize(
    ("selector", "kept"),
    [
        ("p", True),
        (".a", True),
        (".a .z", False),
        ("#z", False),
        (".a:not(.z)", True),
        (":is(.a, .z) p", True),
        (".a:not(:is(.z, .y))", True),
        (r".a\:b", False),
        ('[href$=".z"]', True),
        ("a[class*='.z#y']", True),
    ],
)
def test_usable(selector, kept):
    assert light_css.usable(selector, {"a", "b"}) is kept


def test_selectors_are_split_outside_parentheses():
    assert light_css.selectors("a:is(.b, .c), d[e='f,g'],h") == ["a:is(.b, .c)", "d[e='f,g']", "h"]


def test_a_style_sheet_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="cannot be read"):
        light_css.light(tinycss2.parse_stylesheet("a { } b"), {"a", "b"})
