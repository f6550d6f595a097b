"""What errors say of files that cannot be read."""


def reason_of(error: Exception) -> str:
    """The first line of what an error says."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
