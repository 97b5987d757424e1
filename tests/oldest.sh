#!/usr/bin/env bash
# The fast tests with the oldest versions that pyproject.toml allows: tests/oldest.sh FOLDER [arguments for pytest]
# FOLDER gets a virtual environment, 7 GB of it, since torch of that day comes with its CUDA libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?which folder gets the environment}
shift
if [ ! -x "$folder/bin/pytest" ]; then
  python3.11 -m venv "$folder"
  "$folder/bin/pip" install -q -c constraints-oldest.txt -e ".[test]"
fi
OMP_NUM_THREADS=1 MPLBACKEND=agg "$folder/bin/python" -m pytest "$@"
