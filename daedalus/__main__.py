"""``python -m daedalus`` and the ``daedalus`` command."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    from daedalus.cli import run
    from daedalus.output import outlive_readers

    outlive_readers()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
