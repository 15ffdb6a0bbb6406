"""Generated parts of the back matter: the indexes of equations and of experiments, the notes of the bibliography.

Sphinx loads this module (see _config.yml); the package does not need it.
"""

import functools
import json
from pathlib import Path

import equation_index
import experiment_index
import syllabus
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

INDEXES = {
    "equations": equation_index.table,
    "pages": experiment_index.page_table,
    "records": experiment_index.record_table,
    "weeks-6": functools.partial(syllabus.table, 6),
    "weeks-12": functools.partial(syllabus.table, 12),
}
# Read again whenever another page is read: they show what the pages hold.
ALWAYS_READ = ("book/equations", "book/experiments", "book/teaching")


class Index(SphinxDirective):
    """`{index-of} equations` (or pages, records): a table made from the pages and records as they are now."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in INDEXES:
            raise self.error(f"unknown index {name!r}; allowed: {', '.join(INDEXES)}")
        try:
            text = INDEXES[name]()
        except (KeyError, ValueError) as error:
            raise self.error(f"index of {name}: {error}") from error
        box = nodes.container(classes=["index-of"])
        self.state.nested_parse(text.splitlines(), self.content_offset, box)
        return [box]


def read_again(
    app: Sphinx, env, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """The pages of the indexes, if any page is read."""
    return [
        name for name in ALWAYS_READ if (added or changed or removed) and name in env.found_docs
    ]


class Annotations(SphinxPostTransform):
    """Under each work of the bibliography, what the book takes from it: `book/annotations.json`."""

    default_priority = 950
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        notes = json.loads(
            Path(self.env.srcdir, "book", "annotations.json").read_text(encoding="utf-8")
        )
        keys = {c.citation_id: c.key for c in self.env.get_domain("cite").citations}
        for citation in self.document.findall(nodes.citation):
            for name in citation["ids"]:
                if name in keys:
                    if keys[name] not in notes:
                        raise ExtensionError(f"book/annotations.json has no note on {keys[name]}")
                    citation += nodes.paragraph("", notes[keys[name]], classes=["annotation"])


def setup(app: Sphinx) -> dict:
    app.add_directive("index-of", Index)
    app.add_post_transform(Annotations)
    app.connect("env-get-outdated", read_again)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
