#!/usr/bin/env bash
# One machine: two processes that share its GPUs, started again where one dies.
# PROCESSES=1 is enough unless the host's own work is the limit.
PROCESSES=2 ./launch.sh train --config=digits --workdir=runs/a --max_restarts=3
