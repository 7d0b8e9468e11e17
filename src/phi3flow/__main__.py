"""``phi3flow``, and ``python -m phi3flow``: the command line, also while it is still being imported."""

import os
import sys


def main() -> int:
    """Run one command line and return its exit code; 130 for Ctrl-C, 141 where nobody reads the output any more."""
    try:
        from phi3flow.cli.main import main as run

        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain as it ends
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("phi3flow: error: interrupted\n")
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
