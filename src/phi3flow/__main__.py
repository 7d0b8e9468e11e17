"""``phi3flow``, and ``python -m phi3flow``: the command line, also while it is still being imported."""

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 130 for Ctrl-C, 143 and 129 for the signals that end as it does,
    141 where nobody reads the output any more.
    """
    try:
        from phi3flow.signals import end_as_by_ctrl_c

        end_as_by_ctrl_c()
        from phi3flow.cli.main import main as run

        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain as it ends
        return 141
    except BaseException as error:
        interruption = _interruption(error)
        if interruption is None:
            raise
        sys.stderr.write("phi3flow: error: interrupted\n")
        return getattr(interruption, "exit_code", 130)
    return code


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the Ctrl-C at the bottom of it: a class that is being made tells of it as of an error of its own."""
    passed = set[int]()
    while error is not None and id(error) not in passed:  # errors may refer to each other in a circle
        if isinstance(error, KeyboardInterrupt):
            return error
        passed.add(id(error))
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    sys.exit(main())
