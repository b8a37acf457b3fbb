"""What really goes over the wire, to servers that really listen."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from fanfold_server.callbacks.port import NotDelivered
from fanfold_server.callbacks.sending import open_post
from fanfold_server.model.callback import Hosts, Target
from tests.fakes.ports import reserved_port
from tests.fakes.receiver import receiving


async def test_a_message_arrives_as_it_is() -> None:
    with receiving(answers=(418,)) as receiver:
        target = Hosts([receiver.host]).target(receiver.url)
        async with open_post(1) as post:
            assert await post.send(target, {"webhook-id": "x"}, b'{"a":1}') == 418
    (received,) = receiver.received
    assert (received.path, received.body) == ("/hook?a=b%20c", b'{"a":1}')
    assert received.headers["host"] == receiver.host
    assert received.headers["webhook-id"] == "x"
    assert not {"cookie", "authorization", "accept-encoding"} & received.headers.keys()


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with receiving() as elsewhere:
        location = {"Location": elsewhere.url}
        with receiving(answers=(302, 307), headers=location) as receiver:
            target = Hosts([receiver.host, elsewhere.host]).target(receiver.url)
            async with open_post(1) as post:
                assert [await post.send(target, {}, b"") for _ in range(2)] == [302, 307]
    assert elsewhere.received == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        target = Hosts([receiver.host]).target(receiver.url)
        async with open_post(1) as post:
            assert await post.send(target, {}, b"") == 204
    assert proxy.received == []


async def test_a_name_that_leads_to_a_private_address_is_not_connected_to() -> None:
    """As if a name under a listed domain had been pointed at this machine."""
    with receiving() as receiver:
        target = Target(
            scheme="https", host="localhost", port=receiver.port, path="/", literal=False
        )
        async with open_post(1) as post:
            with pytest.raises(NotDelivered, match="not a public one"):
                await post.send(target, {}, b"")
    assert receiver.received == []


async def test_nobody_there_is_said() -> None:
    with reserved_port() as port:
        await _to_nobody(f"127.0.0.1:{port}")


async def _to_nobody(host: str) -> None:
    async with open_post(1) as post:
        with pytest.raises(NotDelivered, match="could not be connected to"):
            await post.send(Hosts([host]).target(f"http://{host}/"), {}, b"")
        unknown = Hosts(["no.such.host.invalid"]).target("https://no.such.host.invalid/")
        with pytest.raises(NotDelivered, match="name is unknown"):
            await post.send(unknown, {}, b"")


@pytest.mark.parametrize(("name", "is_valid"), [("localhost", True), ("other.example", False)])
async def test_a_certificate_is_checked_against_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_valid: bool
) -> None:
    """The address is connected to, and the name has to be in the certificate."""
    certificate, key = _certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with receiving(tls=tls) as receiver:
        host = f"localhost:{receiver.port}"
        target = Hosts([host]).target(f"https://{host}/")
        async with open_post(1) as post:
            if is_valid:
                assert await post.send(target, {}, b"{}") == 204
                assert receiver.received[0].headers["host"] == host
            else:
                with pytest.raises(NotDelivered, match="certificate is not valid"):
                    await post.send(target, {}, b"{}")


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that vouches for itself."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key,
         "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
