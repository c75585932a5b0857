#!/usr/bin/env bash
# The suite under the newest Python and JAX: `tests/newest/run.sh FOLDER [flags of pytest]`.
#
# Where no python3.13 or later is found, a Debian that has one is put into FOLDER by debootstrap, as root.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift

newest() {
  for name in python3.15 python3.14 python3.13; do
    if command -v "$name" >/dev/null; then
      echo "$name"
      return
    fi
  done
}

suite='
  set -euo pipefail
  "$1" -m venv "$2/venv"
  "$2/venv/bin/python" -m pip install --quiet --editable "$3[experiments,test]"
  cd "$3"
  "$2/venv/bin/python" -c "import sys, jax; print(sys.version, jax.__version__)"
  exec "$2/venv/bin/python" -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder "${@:4}"
'
python=$(newest)
if [ -n "$python" ]; then
  exec bash -c "$suite" suite "$python" "$folder" "$root" "$@"
fi
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
  echo "skipped: there is no python3.13, and no debootstrap that root could make one with" >&2
  exit 77
fi
debian=$folder/debian
there=/srv/vae_jax # the clone, as seen from within that Debian
if [ ! -x "$debian/usr/bin/python3" ]; then
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,git trixie "$debian" >"$folder/debootstrap.log"
fi
cp -L /etc/resolv.conf "$debian/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$debian/etc/ssl/certs/ca-certificates.crt"
rm -rf "$debian$there"
git clone --quiet "$root" "$debian$there"
mount --bind /proc "$debian/proc"
trap 'umount "$debian/proc"' EXIT
chroot "$debian" bash -c "$suite" suite python3 /srv "$there" "$@"
