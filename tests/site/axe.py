"""axe-core in a page: every rule of WCAG 2.0 to 2.2, A and AA, and its rules of good practice."""

from pathlib import Path

from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
UNFOLD = "() => document.querySelectorAll('details').forEach(e => { e.open = true; })"
RUN = """
async tags => {
  const result = await axe.run(document, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]});
  return result.violations.flatMap(rule => rule.nodes.map(node => [
    `${rule.id} (${rule.impact})`,
    node.target.flat().join(" "),
    node.failureSummary.split("\\n").slice(1).map(line => line.trim()).join("; "),
    rule.helpUrl.split("?")[0],
  ].join(" | ")));
}
"""


def violations(page: Page, script: Path) -> list[str]:
    """What axe-core finds in the open page, folded parts unfolded: rule, element, reason, where to read on."""
    page.evaluate(UNFOLD)
    page.add_script_tag(path=script)
    return page.evaluate(RUN, TAGS)
