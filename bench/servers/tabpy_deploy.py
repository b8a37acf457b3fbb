"""Deploys the functions on TabPy with its own client; the argument is the port."""

import sys

from tabpy.tabpy_tools.client import Client

from bench.functions import sources

SOURCE = "\n\n".join(sources().values())


def one(fn, i):
    namespace = globals().get("_namespace")
    if namespace is None:
        namespace = globals()["_namespace"] = {}
        exec(SOURCE, namespace)  # noqa: S102 (ours)
    value = namespace[fn](i)
    return value.to_dict(orient="records") if hasattr(value, "to_dict") else value


def fan(fn, n):
    namespace = globals().get("_namespace")
    if namespace is None:
        namespace = globals()["_namespace"] = {}
        exec(SOURCE, namespace)  # noqa: S102 (ours)
    f = namespace[fn]
    return [f(i) for i in range(1, n + 1)]


if __name__ == "__main__":
    client = Client(f"http://localhost:{sys.argv[1]}/")
    client.deploy("one", one, "one index", override=True)
    client.deploy("fan", fan, "n indexes", override=True)
