#!/usr/bin/env bash
# Make the virtual environment $1 with the first Python that is new enough, or bring it up to date.
set -euo pipefail
folder=$1

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if ! usable "$folder/bin/python" || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
  for python in python3.11 python3.12 python3.13 python3.14 python3 python ''; do
    if [ -n "$python" ] && usable "$python"; then break; fi
  done
  if [ -z "$python" ]; then
    echo "Python 3.11 or later was not found. Install it, so that python3.11 or python3 is on the PATH." >&2
    exit 1
  fi
  echo "Making $folder with $("$python" --version) …"
  rm -rf "$folder"
  if ! "$python" -m venv "$folder"; then
    rm -rf "$folder"
    echo "$python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 1
  fi
fi
echo "Installing what requirements-dev.txt lists (once; about a minute) …"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
