"""What runs in the process that `child` starts: reads files, answers with plain arrays."""

import ast
import contextlib
import faulthandler
import importlib
import sys
import warnings

from deepmds_jax.data.formats.archives import MAX_BYTES
from deepmds_jax.data.formats.child import read_block, write_arrays, write_block


def serve() -> None:
    """Answers each request on stdin on stdout, by an error, or by none and arrays.

    A request is a module, a path, arguments for its `load`, and the seconds that this may take.
    """
    warnings.simplefilter("ignore")
    _limit_memory()
    while True:
        try:
            request = ast.literal_eval(read_block(sys.stdin.buffer).decode())
        except EOFError:
            return
        reader, path, arguments, seconds = request
        error, arrays = "", {}
        # Its thread is no Python: it ends this process in the midst of compiled code, too.
        faulthandler.dump_traceback_later(seconds, exit=True)
        try:
            arrays = importlib.import_module(reader).load(path, *arguments)
        except Exception as reason:  # parsers raise many kinds on a damaged file
            text = " ".join(str(reason).split())
            error = text or f"damaged ({type(reason).__name__})"
        finally:
            faulthandler.cancel_dump_traceback_later()
        write_block(sys.stdout.buffer, error.encode(errors="backslashreplace"))
        if not error:
            write_arrays(sys.stdout.buffer, arrays)


def _limit_memory() -> None:
    """Little compressed zeros would take all there is, and other programs with it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    at_most = 4 * MAX_BYTES  # an array, what it is unpacked from, and two copies to hand it over
    with contextlib.suppress(ValueError, OSError):  # the system has a lower limit
        resource.setrlimit(resource.RLIMIT_DATA, (at_most, hard))
