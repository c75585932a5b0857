#!/usr/bin/env bash
# Open MPI: eight processes, started on the machine of rank 0.
mpirun -n 8 --bind-to none -x ACCELERATOR ./launch.sh train --config=mnist --workdir=/shared/runs/a
