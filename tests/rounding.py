"""How nearly two programs agree that the tests compile."""

import os

# XLA's former emitters (see conftest.py) round each shape in their own way.
FORMER_EMITTERS = "use_fusion_emitters=false" in os.environ.get("XLA_FLAGS", "")


def bound(as_users_compile: float, by_former_emitters: float) -> float:
    """Of a difference: the second where the tests' programs come from the former emitters."""
    return by_former_emitters if FORMER_EMITTERS else as_users_compile
