#!/usr/bin/env bash
# TPU pod: the same command on every host, in a clone that each has. NAME is that of the pod.
gcloud compute tpus tpu-vm ssh NAME --worker=all \
  --command="cd vae_jax && ./launch.sh train --config=mnist --workdir=/mnt/shared/a"
