#!/usr/bin/env bash
# Lint, check types and test on a bare machine: `bash tests/run.sh [arguments for pytest]`.
# Makes .venv-test and installs a browser where they are missing; quick the second time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

python_of_3_11_to_3_13() {
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3 python; do
    [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' 2>/dev/null \
      && echo "$candidate" && return
  done
  echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON to it." >&2
  return 1
}

# Beside Python's packages, which take longer to fetch.
install_from_debian() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  /sbin/ldconfig -p | grep -q 'libGL\.so\.1' || missing+=(libgl1) # opencv, which insightface imports
  fc-list :lang=ja 2>/dev/null | grep -q . || missing+=(fontconfig fonts-ipafont-gothic) # for the page in Japanese
  [ ${#missing[@]} -eq 0 ] && return
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
install_from_debian &
debian=$!

# The stamp names the requirements that are installed: a change installs again.
wanted=$(cat requirements*.txt tests/requirements.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv-test/installed 2>/dev/null)" != "$wanted" ]; then
  python=$(python_of_3_11_to_3_13)
  [ -x .venv-test/bin/python ] || "$python" -m venv .venv-test
  # uv takes a quarter of pip's time; it does not read pip's settings, so where those name a mirror, pip does it.
  .venv-test/bin/python -m pip install --quiet --disable-pip-version-check uv
  .venv-test/bin/uv pip install --quiet --python .venv-test/bin/python --requirement tests/requirements.txt ||
    .venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement tests/requirements.txt
  echo "$wanted" >.venv-test/installed
fi
wait "$debian"

.venv-test/bin/ruff check .
.venv-test/bin/ruff format --check .
.venv-test/bin/mypy
# One process a core with one thread each: many tests wait for an app in a process of its own.
export OMP_NUM_THREADS=1
# What one of the many processes compiled, the next one need not: compiling takes longer than importing.
unset PYTHONDONTWRITEBYTECODE
# Whoever is done takes the next file, as ordered in conftest.py.
exec .venv-test/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
