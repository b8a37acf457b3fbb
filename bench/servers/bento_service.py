"""BentoML with one trivial service."""

import bentoml


@bentoml.service(workers=1)
class Square:
    @bentoml.api
    def one(self, i: int) -> int:
        return i * i
