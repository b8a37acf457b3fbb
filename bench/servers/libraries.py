"""Library peers and limits inside a process: commands as JSON lines on stdin, answers on stdout.

Every run ends with the JSON text of all results, as the runs of HTTP peers do.
"""

# ruff: noqa: ARG002 (a loop has no degree)
# ruff: noqa: PLC0415 (each process has what its own peer needs)

import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import orjson

from bench import functions


class Peer:
    """What all share: the million rows of W6, and how they are cut."""

    frame = None

    def parts(self, by):
        """Return the groups of the column k, or stretches of `by` rows."""
        if by is None:
            return [group for _, group in self.frame.groupby("k")]
        return [self.frame.iloc[at : at + by] for at in range(0, len(self.frame), by)]

    def load(self):
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(11)
        n = 1_000_000
        columns = {"k": rng.integers(0, 1_000, n), "x": rng.random(n), "y": rng.random(n)}
        self.frame = pd.DataFrame({**columns, "z": rng.integers(0, 100, n)})

    def run(self, parts):
        """Call `grp` for each part, on two cores where the peer can."""
        return [functions.grp(part) for part in parts]


class Loop(Peer):
    def fan(self, function, calls, degree):
        return [function(i) for i in range(1, calls + 1)]


class DuckPandas(Peer):
    def load(self):
        import duckdb

        super().load()
        self.database = duckdb.connect()
        self.database.execute("SET threads = 2")
        self.database.register("frame", self.frame)
        self.database.execute("CREATE TABLE data AS SELECT * FROM frame")
        self.database.unregister("frame")
        self.frame = None

    def parts(self, by):
        if by is None:
            rows = self.database.execute("SELECT * FROM data ORDER BY k").df()
            return [group for _, group in rows.groupby("k", sort=False)]
        rows = self.database.execute("SELECT * FROM data").df()
        return [rows.iloc[at : at + by] for at in range(0, len(rows), by)]


class ForkSplit(Peer):
    """Forks P processes of a preloaded parent; each sends the JSON of its share by a pipe."""

    def __init__(self):
        functions.fig(0)  # numpy, matplotlib and its first drawing are in before the fork

    def fan(self, function, calls, degree):
        children = []
        for k in range(degree):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                share = range(1 + calls * k // degree, 1 + calls * (k + 1) // degree)
                text = memoryview(orjson.dumps([function(i) for i in share])[1:-1])
                while text:
                    text = text[os.write(writing, text) :]
                os._exit(0)
            os.close(writing)
            children.append((pid, reading))
        texts = []
        for pid, reading in children:
            with os.fdopen(reading, "rb", buffering=0) as pipe:
                texts.append(pipe.readall())
            os.waitpid(pid, 0)
        return b'{"result":[' + b",".join(text for text in texts if text) + b"]}"


class Ppe(Peer):
    def __init__(self):
        self.pools = {degree: ProcessPoolExecutor(degree) for degree in (1, 2)}

    def fan(self, function, calls, degree):
        chunk = max(1, calls // (8 * degree))
        return list(self.pools[degree].map(function, range(1, calls + 1), chunksize=chunk))

    def run(self, parts):
        return list(self.pools[2].map(functions.grp, parts))


class MpPool(Peer):
    def __init__(self):
        self.pools = {degree: multiprocessing.Pool(degree) for degree in (1, 2)}

    def fan(self, function, calls, degree):
        chunk = max(1, calls // (8 * degree))
        return self.pools[degree].map(function, range(1, calls + 1), chunksize=chunk)

    def run(self, parts):
        return self.pools[2].map(functions.grp, parts, chunksize=8)


class Loky(Peer):
    def fan(self, function, calls, degree):
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=degree, backend="loky" if degree > 1 else None)
        return parallel(delayed(function)(i) for i in range(1, calls + 1))

    def run(self, parts):
        from joblib import Parallel, delayed

        return Parallel(n_jobs=2)(delayed(functions.grp)(part) for part in parts)


class Dask(Peer):
    def __init__(self):
        from dask.distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        )
        self.client = Client(self.cluster)

    def fan(self, function, calls, degree):
        workers = list(self.client.scheduler_info()["workers"])[:degree]
        chunk = max(1, calls // (8 * degree))
        futures = self.client.map(
            function, range(1, calls + 1), workers=workers, pure=False, batch_size=chunk
        )
        return self.client.gather(futures)

    def run(self, parts):
        return self.client.gather(self.client.map(functions.grp, parts, pure=False))


class RayTasks(Peer):
    def __init__(self):
        import ray

        self.ray = ray
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        self.remote = {}

    def fan(self, function, calls, degree):
        key = (function.__name__, degree)
        if key not in self.remote:
            self.remote[key] = self.ray.remote(num_cpus=2 // degree)(function)
        task = self.remote[key]
        return self.ray.get([task.remote(i) for i in range(1, calls + 1)])

    def run(self, parts):
        task = self.ray.remote(functions.grp)
        return self.ray.get([task.remote(part) for part in parts])


PEERS = {
    "limit:loop": Loop, "limit:fork-split": ForkSplit, "ppe": Ppe, "mp-pool": MpPool,
    "joblib-loky": Loky, "duckdb-pandas": DuckPandas, "dask": Dask, "ray-tasks": RayTasks,
}  # fmt: skip


def main():
    peer = PEERS[sys.argv[1]]()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        try:
            print(json.dumps(answered(peer, json.loads(line))), file=answers)
        except Exception as exc:  # noqa: BLE001 (whatever it is, the runner is told)
            print(json.dumps({"error": repr(exc)[:400]}), file=answers)


def answered(peer, asked):
    """Do what is asked; what is made ready before is not timed."""
    if "frame" in asked:
        value = functions.big(1)
        began = time.perf_counter()
        text = value.to_json(orient="records", double_precision=15)
        return {"seconds": time.perf_counter() - began, "bytes": len(text)}
    if "by" in asked:
        if peer.frame is None and not hasattr(peer, "database"):
            peer.load()
        began = time.perf_counter()
        result = peer.run(peer.parts(asked["by"]))
        orjson.dumps({"result": result})
        return {"seconds": time.perf_counter() - began, "calls": len(result)}
    function = getattr(functions, asked["function"])
    began = time.perf_counter()
    result = peer.fan(function, asked["calls"], asked["degree"])
    if not isinstance(result, bytes):
        orjson.dumps({"result": result})
    return {"seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main()
