"""The machine that times were measured on."""

import os
import pathlib
import platform
import re

import jax


def describe_hardware() -> dict[str, str | int | None]:
    """The JAX device ("device"), the number of cores ("cores") and the model of the CPU ("cpu")."""
    info = pathlib.Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return {
        "device": jax.devices()[0].device_kind, "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.processor() or platform.machine(),
    }
