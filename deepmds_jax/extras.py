"""Imports of packages that only some tasks need."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Imports `module`, or says which extra of setup.cfg installs it.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {module.split('.')[0]}: "
                          f"pip install 'deepmds-jax[{extra}]'") from error
