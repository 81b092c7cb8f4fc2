#!/usr/bin/env bash
# importlib_metadata 10.2.0, the backport, changes the standard library's answers once it is imported: it
# puts its own finder in place of the other. `importlib.metadata.metadata(name).get_payload()`, the long
# description of a package before, is an empty string after. Its header "Description" has the text in both.
#
# So code that reads descriptions gives other results depending on what some library has imported before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q importlib_metadata==10.2.0 packaging==25.0
"$work/venv/bin/python" - <<'PYTHON'
import importlib.metadata as standard
import sys


def sizes():
    found = standard.metadata("packaging")
    return len(found.get_payload()), len(found["Description"])


before = sizes()
import importlib_metadata  # noqa: E402

after = sizes()
print("Python", sys.version.split()[0], "importlib_metadata", importlib_metadata.version("importlib_metadata"))
print("characters of payload and of Description, before the import:", *before)
print("characters of payload and of Description, after it:", *after)
assert before[0] > 0 and after[0] == 0, "payloads are the same before and after"
assert before[1] > 0 and after[1] > 0
PYTHON
