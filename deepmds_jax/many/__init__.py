"""Lifts the faces of Parquet files, of which there may be more than fit into memory.

A part is one file of faces, a row each; what becomes of it is one file. `stream` runs over parts on
this machine, `ray_engine` on a Ray cluster, and both write the same files.
"""

from deepmds_jax.extras import require

require("pyarrow.parquet", extra="parquet")

from deepmds_jax.many.stream import Summary, reconstruct_files, run_here  # noqa: E402

__all__ = ["Summary", "reconstruct_files", "run_here"]
