"""Trains Deep-MDS, or a network that it is compared with, on faces from a dataset.

  bin/train --dataset=synthetic
  bin/train --dataset=ict --data_dir=ICT-FaceKit --topology=flame51 --accelerator=gpu
  bin/train --method=zhao --dataset=synthetic --topology=bfm72
  bin/train --method=mobileface --dataset=ict --data_dir=ICT-FaceKit --accelerator=gpu

The same command, given again, continues an interrupted run.

Several processes, on one machine or more, train one run on the devices of all; each gets the same
command, but for its number:

  bin/train --dataset=synthetic --coordinator_address=HOST:PORT --num_processes=2 --process_id=0
  bin/train --dataset=synthetic --coordinator_address=HOST:PORT --num_processes=2 --process_id=1
  srun bin/train --dataset=synthetic --distributed
"""

from collections.abc import Sequence

import jax

from deepmds_jax.cli import program, train_flags
from deepmds_jax.methods import table
from deepmds_jax.weights.locate import FILE_NAME

_FLAGS = train_flags.FLAGS


def main(arguments: list[str]) -> None:
    """Trains as the flags say."""
    del arguments
    from deepmds_jax.training.processes import Processes
    from deepmds_jax.training.run import train  # needs what only training needs

    processes = Processes.of(jax.devices())
    method, run, dataset, workdir = processes.together(train_flags.read)
    if processes.leads:
        program.tell(f"training on {dataset.spec.title}, {run.config.topology}; "
                     f"curves: tensorboard --logdir={workdir}")
    try:
        train(method, run, dataset, workdir)
    except jax.errors.JaxRuntimeError as error:
        if not processes.several:
            raise
        raise ConnectionError(
            f"a process is gone, or a device failed ({str(error).splitlines()[0]}); start all "
            "again, they go on from the last checkpoint") from None
    if processes.leads:
        scored = (f"--weights={workdir}" if method.NAME == table.DEFAULT
                  else f"--methods={method.NAME}={workdir} --topology={run.config.topology}")
        program.tell(f"wrote {workdir / FILE_NAME}; score it: bin/eval {scored}")


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, prepare=train_flags.join_processes)
