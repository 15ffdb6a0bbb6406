"""Command line: `python -m imgbook record NAME`."""

import argparse
import sys

from imgbook import presets


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit code."""
    from imgbook import experiments

    parser = argparse.ArgumentParser(
        prog="python -m imgbook",
        description=__doc__,
        epilog="example: python -m imgbook record vae --seeds 0 1 2 3 4 5",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser(
        "record", help="run an experiment over several seeds and write its result record"
    )
    record.add_argument("name", help=f"one of: {', '.join(experiments.EXPERIMENTS)}")
    record.add_argument(
        "--preset", default=None, help="smoke (writes nothing), quick (default) or full"
    )
    record.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=None,
        help="default: 0 1 2 3 4 5 (pages use 0); the judge: 0",
    )
    arguments = parser.parse_args(argv)
    try:
        # The judge is trained on the whole set and used at every preset, so it has one size, and one seed.
        preset = presets.current(
            arguments.preset or ("full" if arguments.name == "judge" else None)
        )
        experiments.check_name(arguments.name)
        seeds = arguments.seeds or ([0] if arguments.name == "judge" else [0, 1, 2, 3, 4, 5])
        command = f"python -m imgbook record {arguments.name} --preset {preset} --seeds {' '.join(map(str, seeds))}"
        experiments.record(arguments.name, preset, seeds, command)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
