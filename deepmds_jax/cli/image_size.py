"""The flag --image_size, of programs that read landmarks which may be parts of a picture."""

from absl import flags


def define(values: flags.FlagValues, default: str = "") -> flags.FlagHolder:
    """Adds the flag to those of a program; `default` says what it is, if it is anything."""
    return flags.DEFINE_list(
        "image_size", None,
        "WIDTH,HEIGHT of the pictures in pixels, for landmarks that are parts of them, such as "
        f"MediaPipe's{default}.", flag_values=values)


def read(flag: flags.FlagHolder) -> tuple[float, float] | None:
    """What the flag says.

    Raises:
      ValueError: it is not two numbers above 0.
    """
    if flag.value is None:
        return None
    try:
        width, height = map(float, flag.value)
        if not (0 < width < float("inf") and 0 < height < float("inf")):
            raise ValueError
    except ValueError:
        raise ValueError("image_size: expected WIDTH,HEIGHT in pixels, got "
                         f"{','.join(flag.value) or 'none'}") from None
    return width, height
