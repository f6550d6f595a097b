"""What the programs share: flags of their own, one-line errors, the accelerator."""

import contextlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import jax
from absl import flags, logging

from deepmds_jax.data.formats.plain_names import printable

_INSTALLATION = "see https://docs.jax.dev/en/latest/installation.html"
_ADVICE = {"gpu": f"for an NVIDIA GPU: pip install 'jax[cuda13]'; for others {_INSTALLATION}"}

_MAX_CHOICES = 60  # characters of the choices of a flag that are told beside its name


def new_flags() -> flags.FlagValues:
    """The flags of one program, so that several programs can be loaded in one process."""
    values = flags.FlagValues()
    for flag in flags.FLAGS.flags_by_module_dict()["absl.logging"]:
        values[flag.name] = flag
    flags.DEFINE_bool("help", None, "Shows this text.", flag_values=values)
    flags.DEFINE_enum(
        "accelerator", None, ["cpu", "gpu", "tpu"],
        "Where to compute; by default JAX takes the fastest there is.", flag_values=values,
    )
    return values


def run(
    main: Callable[[list[str]], int | None],
    values: flags.FlagValues,
    description: str | None,
    arguments: Sequence[str] | None = None,
    positional: bool = False,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Runs a program. An error that the user can mend is one line on stderr, without a traceback.

    Args:
      main: takes the positional arguments and returns the exit status, None for 0.
      values: the program's flags, from `new_flags`.
      description: for --help.
      arguments: of the command line, `sys.argv[1:]` by default.
      positional: whether the program takes arguments that are not flags.
      prepare: what has to be done before JAX looks for devices.

    Returns:
      The exit status: 1 after an error, 130 after an interruption, by Ctrl-C or SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    values.unparse_flags()  # of an earlier run in this process
    try:
        rest = values(["program", *map(str, arguments)])[1:]
        if values["help"].value:
            print(f"{description}\nflags:\n{_help(values)}", flush=True)
            return 0
        if rest and not positional:
            raise ValueError(f"unexpected argument {rest[0]!r}: flags are --name=value")
        flags.FLAGS(["program"])  # absl's log looks at the flags of the process
        if not values["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # Orbax logs every file it opens
        logging.use_absl_handler()
        prepare()
        _select_accelerator(values["accelerator"].value)
        with _termination_as_interruption():
            status = main(rest) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as reason:
        print(f"\ninterrupted {reason}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads on; nor may Python complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        reason = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
        warn(f"error: {reason or error}")
        return 1
    except (ValueError, ImportError, FloatingPointError, flags.Error) as error:
        warn(f"error: {error}")
        return 1


@contextlib.contextmanager
def _termination_as_interruption() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: files that are half written are taken away."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone receives signals
        return

    def interrupt(*_):
        raise KeyboardInterrupt("by SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(*lines: object, file: TextIO | None = None) -> None:
    """Prints lines, which may hold names and paths from anywhere; nothing if there are none."""
    for line in "\n".join(map(str, lines)).split("\n") if lines else ():
        # What the terminal's encoding lacks, too, or one name would end the program.
        stream = file or sys.stdout
        encoding = stream.encoding or "utf-8"
        print(printable(line).encode(encoding, "backslashreplace").decode(encoding), file=stream)


def warn(*lines: object) -> None:
    """`tell` on stderr."""
    tell(*lines, file=sys.stderr)


def list_left_out(lines: Sequence[str]) -> None:
    """Names on stderr what was left out, if anything was, each in a line."""
    if lines:
        warn("left out:", *(f"  {printable(line)}" for line in lines))


def require(flag: flags.FlagHolder, example: str) -> str:
    """The value of a flag that the program cannot do without.

    Raises:
      ValueError: it was not given.
    """
    if not flag.value:
        raise ValueError(f"{flag.name}: expected --{flag.name}={example}, got none")
    return flag.value


def _help(values: flags.FlagValues) -> str:
    logs = {flag.name for flag in flags.FLAGS.flags_by_module_dict()["absl.logging"]}
    own = [name for name in sorted(values) if name not in logs and name == values[name].name]
    return "\n".join(_flag_help(values[name]) for name in own)


def _flag_help(flag: flags.Flag) -> str:
    name = f"[no]{flag.name}" if flag.boolean and flag.name != "help" else flag.name
    choices = "|".join(getattr(flag.parser, "enum_values", ()))
    value = f"={choices}" if choices else ""
    text = (flag.help or "").removeprefix(f"<{choices}>: ")  # absl repeats the choices there
    if len(choices) > _MAX_CHOICES:  # no line breaks within a word
        value, text = "", f"{text} One of {choices.replace('|', ', ')}."
    default = f" (default: {flag.default_as_str.strip(chr(39))})" if flag.default_as_str else ""
    return textwrap.fill(
        f"--{name}{value}: {text}{default}", flags.get_help_width(), initial_indent="  ",
        subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _select_accelerator(accelerator: str | None) -> None:
    """Makes JAX compute there, for the rest of the process: it keeps the devices it finds first.

    Raises:
      ValueError: JAX does not find it.
    """
    if accelerator is None:
        return
    before = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue] (set by JAX)
    # Not "gpu": that is CUDA, ROCm and oneAPI to JAX, which fails unless it finds all of them. Left
    # to choose, it prefers an accelerator to the CPU.
    jax.config.update("jax_platforms", "cpu" if accelerator == "cpu" else None)
    try:
        found = jax.default_backend()
        reason = f"it finds {found}"
    except RuntimeError as error:
        found, reason = None, " ".join(str(error).split())
    finally:
        jax.config.update("jax_platforms", before)
    if found != accelerator:
        raise ValueError(f"accelerator: no {accelerator} that JAX can use here ({reason}); "
                         f"{_ADVICE.get(accelerator, _INSTALLATION)}")
