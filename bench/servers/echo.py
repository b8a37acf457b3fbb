"""What the HTTP layer alone costs: a constant answer, by ASGI and by a bare asyncio socket."""

import asyncio
import sys

BODY = b'{"result":[49]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"15")]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


class Echo(asyncio.Protocol):
    ANSWER = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n" + BODY
    )

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _data):  # one request a segment: true of our clients
        self.transport.write(self.ANSWER)


async def main(port):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
