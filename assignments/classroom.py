#!/usr/bin/env python3
"""A class that uses the labs of this folder: release, collect, grade, problems, feedback, export."""

import json
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BUILT = ROOT.parent / "_build" / "classroom"
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from tools.course import Course, Refused  # noqa: E402


class Commands(click.Group):
    """Commands in the order of a term; what was refused is said in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Refused as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.option("--course", type=click.Path(file_okay=False, path_type=Path), default=ROOT,
              help="Folder of the course; default: the one of this command.")  # fmt: skip
@click.pass_context
def main(ctx: click.Context, course: Path) -> None:
    warnings.filterwarnings("ignore", module="sqlalchemy|nbgrader|traitlets")  # theirs
    ctx.obj = Course(course.resolve())


uncontained = click.option(
    "--uncontained", is_flag=True, help="Without a sandbox: only for code that you trust."
)
jobs = click.option("--jobs", default=2, show_default=True, help="Hand-ins at a time.")


@main.command()
def sandbox() -> None:
    """Say whether hand-ins can run in a sandbox on this machine."""
    from tools import execute

    execute.check_sandbox()
    click.echo("hand-ins run in a sandbox here")


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("--check", is_flag=True, help="Only say whether the student versions are current.")
@click.pass_obj
def release(course: Course, labs: tuple[str, ...], check: bool) -> None:
    """Make the versions for students, in student/."""
    from tools import release as releasing

    names = [course.lab(name) for name in labs] or course.labs()
    if check:
        if old := releasing.stale(course, names):
            raise Refused(f"not current: {', '.join(old)}; run: classroom.py release")
        click.echo(f"{len(names)} student versions are current")
        return
    for path in releasing.release(course, names):
        click.echo(path)


@main.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--lab", required=True, help="Which lab; the beginning of its name is enough.")
@click.pass_obj
def collect(course: Course, source: Path, lab: str) -> None:
    """Take hand-ins from a folder, or from Moodle's or Canvas's zip."""
    from tools import collect as collecting
    from tools.release import ensure

    template = ensure(course, course.lab(lab))
    found = collecting.collect(course, template, source)
    good = sum(note["file"] is not None for note in found.values())
    click.echo(
        f"{template.lab}: {good} hand-ins collected, {len(found) - good} students without one"
    )
    odd = sum(bool(note["problems"]) for note in found.values())
    click.echo(f"remarks on {odd}: classroom.py problems {template.lab}")


@main.command()
@click.argument("lab")
@click.option("--student", help="Only this one.")
@jobs
@uncontained
@click.pass_obj
def grade(course: Course, lab: str, student: str | None, jobs: int, uncontained: bool) -> None:
    """Run and score the collected hand-ins, each in a sandbox."""
    from tools import driver, execute
    from tools.release import ensure

    if not uncontained:
        execute.check_sandbox()
    template = ensure(course, course.lab(lab))
    for graded in driver.grade(course, template, student, not uncontained, jobs):
        by_hand = sum(cell.points for cell in template.graded if cell.kind == "answer")
        rest = f", {by_hand:g} by hand" if by_hand else ""
        odd = f"  {len(graded.problems)} remarks" if graded.problems else ""
        auto = template.points - by_hand
        click.echo(
            f"{graded.name:32} {graded.points:5g}/{auto:g}{rest} {graded.seconds:6.1f} s{odd}"
        )


@main.command()
@click.argument("lab")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def problems(course: Course, lab: str, as_json: bool) -> None:
    """List everything odd about the hand-ins, with its reason."""
    from dataclasses import asdict

    from tools import report

    found = report.problems(course, course.lab(lab))
    if as_json:
        listed = {name: [asdict(one) for one in many] for name, many in found.items()}
        click.echo(json.dumps(listed, indent=1, ensure_ascii=False))
        return
    for name, many in found.items():
        click.echo(name)
        for one in many:
            click.echo(f"  {one}")
    click.echo(f"{len(found)} students with remarks")


@main.command()
@click.argument("lab")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None)
@click.pass_obj
def answers(course: Course, lab: str, out: Path | None) -> None:
    """Write a table of the written answers, to be marked by hand."""
    from tools import answers as answering
    from tools.release import ensure

    template = ensure(course, course.lab(lab))
    out = out or course.root / "export" / f"{template.lab}-answers.csv"
    count = answering.write(course, template, out)
    click.echo(
        f"{out}: {count} answers; fill in `points` and `comment`, then: classroom.py marks {out}"
    )


@main.command()
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def marks(course: Course, table: Path) -> None:
    """Enter the marks of a table that `answers` wrote."""
    from tools import answers as answering

    entered, refused = answering.read(course, table)
    click.echo(f"{entered} marks entered")
    for line in refused:
        click.echo(f"  not entered: {line}")
    if refused:
        sys.exit(1)


@main.command()
@click.argument("lab")
@click.pass_obj
def feedback(course: Course, lab: str) -> None:
    """Write an HTML file for each student, in feedback/."""
    from tools import feedback as feeding
    from tools.release import ensure

    written = feeding.feedback(course, ensure(course, course.lab(lab)))
    click.echo(f"{len(written)} files in {course.root / 'feedback'}")


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=None)
@click.pass_obj
def export(course: Course, labs: tuple[str, ...], to: Path | None) -> None:
    """Write grades.csv by student and tasks.csv by task."""
    from tools import report

    names = [course.lab(name) for name in labs] or course.labs()
    for path in report.export(course, names, to or course.root / "export"):
        click.echo(path)


@main.command()
@click.option("--lab", "labs", multiple=True, help="Only this lab.")
@click.option("--only", default="", help="Only hand-ins with this in `right/name` or `wrong/name`.")
@click.option(
    "--singly", is_flag=True, help="Each in a notebook of its own: slower, times are its own."
)
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path),
              default=BUILT / "matrix.json", show_default=True)  # fmt: skip
@jobs
@uncontained
@click.pass_obj
def matrix(course: Course, labs: tuple[str, ...], only: str, singly: bool, path: Path, jobs: int,
           uncontained: bool) -> None:  # fmt: skip
    """Test the graders with right and wrong hand-ins; a CSV table and feedback pages stand beside the JSON file."""
    from tools import execute
    from tools import matrix as testing

    if not uncontained:
        execute.check_sandbox()
    names = [course.lab(name) for name in labs] or course.labs()
    how = {"contained": not uncontained, "singly": singly, "jobs": jobs}
    pages = path.parent / "feedback"
    result = testing.run(course, names, only, compiled=BUILT / "compiled", pages=pages, **how)
    click.echo(testing.table(result))
    testing.write(result, path)
    sys.exit(not all(row["ok"] for row in result["rows"]))


if __name__ == "__main__":
    main()
