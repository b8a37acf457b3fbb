"""What an engineer would write in an afternoon: FastAPI, a process pool, a dictionary of scripts.

AFTERNOON_MODE=naive: one future for each index; tuned: `map` with chunks, and orjson.
"""

import asyncio
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.functions import sources

TUNED = os.environ.get("AFTERNOON_MODE") == "tuned"
app = FastAPI()
scripts = sources()
pools = {}
loaded = {}


def load(name, source):
    function = loaded.get((name, source))
    if function is None:
        namespace = {}
        exec(compile(source, name, "exec"), namespace)  # noqa: S102 (running functions is its trade)
        function = loaded[name, source] = namespace[name]
    return function


def run_one(name, source, index):
    value = load(name, source)(index)
    return value.to_json(orient="records") if hasattr(value, "to_json") else value


class RunMany:
    def __init__(self, name, source):
        self.name, self.source = name, source

    def __call__(self, index):
        return load(self.name, self.source)(index)


def pool(degree):
    if degree not in pools:
        pools[degree] = ProcessPoolExecutor(degree)
    return pools[degree]


async def run(name, times, degree):
    loop = asyncio.get_running_loop()
    source = scripts[name]
    if not TUNED or times == 1:
        calls = [
            loop.run_in_executor(pool(degree), run_one, name, source, i)
            for i in range(1, times + 1)
        ]
        return list(await asyncio.gather(*calls))
    chunk = max(1, times // (8 * degree))
    work = pool(degree).map(RunMany(name, source), range(1, times + 1), chunksize=chunk)
    return await loop.run_in_executor(None, list, work)


@app.post("/oml/api/py-scripts/v1/index-apply/{name}")
async def index_apply(name: str, request: Request):
    body = await request.json()
    degree = int(body.get("parallel") or 1) if body.get("parallelFlag") else 1
    result = await run(name, int(body["times"]), degree)
    if not TUNED:
        return {"result": result}
    return Response(orjson.dumps({"result": result}), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
