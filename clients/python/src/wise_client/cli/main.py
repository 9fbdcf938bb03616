"""`wise-segment`: the entry point. Commands are a table; the first word chooses."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from wise_client.cli import batch, evaluate, label_studio, one, refine
from wise_client.cli.common import INTERRUPTED, USAGE, exit_code, say
from wise_client.errors import WiseClientError

# A command's name -> its main: arguments after the name in, exit code out.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "batch": batch.main,
    "eval": evaluate.main,
    "label-studio": label_studio.main,
    "refine": refine.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake or a server's failure is one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(words[0]) if words else None
    try:
        return command(words[1:]) if command else one.main(words)
    except WiseClientError as error:
        say(str(error))
        return exit_code(error)
    except BrokenPipeError:
        # The reader of our output has closed it (`| head`), so nothing can be printed.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"{where}{error.strerror or error}")
        return USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
