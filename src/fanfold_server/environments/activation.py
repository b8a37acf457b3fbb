"""What `conda activate` would set: found out once for each version, in the sandbox, and kept.

Never sourced for a request. The order is conda's: `etc/conda/env_vars.d` and `conda-meta/state`,
then the scripts of `etc/conda/activate.d`, sorted.
"""

from __future__ import annotations

from pathlib import Path


def is_needed(prefix: Path) -> bool:
    """Tell whether activation would do more than to set the path."""
    places = ("etc/conda/activate.d/*.sh", "etc/conda/env_vars.d/*.json", "conda-meta/state")
    return any(any(prefix.glob(place)) for place in places)


ACTIVATE = """
def activate():
    import glob, json, os, subprocess, sys

    ours = {"PWD", "OLDPWD", "SHLVL", "_", "HOME", "TMPDIR", "MPLCONFIGDIR", "PYTHONHASHSEED"}
    prefix = sys.prefix
    before = dict(os.environ, CONDA_PREFIX=prefix, CONDA_SHLVL="1")
    stated = {}
    for path in sorted(glob.glob(os.path.join(prefix, "etc/conda/env_vars.d/*.json"))):
        with open(path) as file:
            stated.update(json.load(file))
    state = os.path.join(prefix, "conda-meta", "state")
    if os.path.exists(state):
        with open(state) as file:
            stated.update(json.load(file).get("env_vars", {}))
    script = "".join(
        '. "%s" >&2\\n' % path
        for path in sorted(glob.glob(os.path.join(prefix, "etc/conda/activate.d/*.sh")))
    )
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script + "env -0"],
        env=dict(before, **{k: str(v) for k, v in stated.items()}),
        stdout=subprocess.PIPE,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError("the activation scripts ended with %d" % done.returncode)
    pairs = (pair.decode("utf-8", "surrogateescape") for pair in done.stdout.split(b"\\0"))
    after = dict(pair.partition("=")[::2] for pair in pairs if pair)
    found = {
        name: value
        for name, value in after.items()
        if before.get(name) != value and name not in ours
    }
    if "PATH" in found:
        seen = dict.fromkeys(found["PATH"].split(":"))
        found["PATH"] = ":".join(seen)
    return found
"""
"""A function that returns the variables; it runs as users' functions do."""
