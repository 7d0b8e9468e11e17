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
    except BaseException as error:
        if not _is_interruption(error):
            raise
        sys.stderr.write("phi3flow: error: interrupted\n")
        return 130
    return code


def _is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: a class that is being made tells of it as of an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
