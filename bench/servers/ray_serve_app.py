"""Ray Serve with one trivial deployment: `ray_serve_app.py PORT`."""

import sys
import time

import ray
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Square:
    async def __call__(self, request):
        index = (await request.json())["i"]
        return {"result": [index * index]}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Square.bind(), route_prefix="/")
    while True:
        time.sleep(3600)
