"""Over TLS the certificate is judged by the name asked for, although the connection is made to an address."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from musicq_async.errors import SourceUnavailable
from musicq_async.media import connections
from musicq_async.media.sources import Source
from musicq_async.media.transfer import download

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for cdn.example that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cdn.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cdn.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture
async def secure(certificate, monkeypatch):
    """A TLS server, reached under every name; returns its port and the server names it was asked for."""
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = bytes(range(256)) * 2000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))])
    yield server.sockets[0].getsockname()[1], names
    server.close()


def source(port: int, host: str) -> Source:
    return Source(url=f"https://{host}:{port}/a", allowed_hosts=frozenset({host}))


async def test_a_server_with_the_right_name_is_believed(secure, certificate, monkeypatch, tmp_path, http, rules):
    port, names = secure
    monkeypatch.setattr(connections, "_tls", ssl.create_default_context(cafile=certificate / "cert.pem"))
    done = await download([source(port, "cdn.example")], tmp_path / "x", http=http, rules=rules)
    assert done.path.read_bytes() == bytes(range(256)) * 2000
    assert names == ["cdn.example"]


async def test_a_server_with_another_name_is_not(secure, certificate, monkeypatch, tmp_path, http, rules):
    port, _ = secure
    monkeypatch.setattr(connections, "_tls", ssl.create_default_context(cafile=certificate / "cert.pem"))
    with pytest.raises(SourceUnavailable):
        await download([source(port, "other.example")], tmp_path / "x", http=http, rules=rules)
    assert list(tmp_path.iterdir()) == []


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(secure, tmp_path, http, rules):
    port, _ = secure
    with pytest.raises(SourceUnavailable):
        await download([source(port, "cdn.example")], tmp_path / "x", http=http, rules=rules)
