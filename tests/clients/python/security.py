#!/usr/bin/env python3
"""Drives a nats-server that asks who is there, with the official Python client.

Usage: security.py SERVER_BINARY

Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.
"""

import asyncio
import pathlib
import ssl
import subprocess
import sys
import tempfile

import nats
from nats.errors import Error

from frame import HOST, Server

# A user's key pair, made for this check.
SEED = "SUACUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKTGMM"
PUBLIC = "UAMX62ZD4FWIKMWGVPEDR6WNL2TYTPQMO2ZJEAZUAON7VCZ5G2GWCXLM"

USERS = f"""
accounts {{
  A {{ users: [
    {{user: a, password: a}}
    {{user: limited, password: l, permissions: {{publish: "ok.>", subscribe: ["ok.>", "_INBOX.>"]}}}}
  ] }}
  B {{ users: [{{nkey: {PUBLIC}}}] }}
}}
"""


class Secured(Server):
    """The server with a configuration file."""

    def __init__(self, binary, directory, conf):
        path = pathlib.Path(directory) / "server.conf"
        path.write_text(conf)
        super().__init__(binary, "-c", str(path))

    async def connect(self, scheme="nats", **options):
        async def ignore(_error):
            pass

        quietly = {"allow_reconnect": False, "connect_timeout": 10, "error_cb": ignore}
        options = {**quietly, **options}
        return await nats.connect(f"{scheme}://{HOST}:{self.port}", **options)


async def refused(connecting):
    try:
        await connecting
    except (Error, ssl.SSLError, OSError):
        return
    raise AssertionError("it was let in")


async def hears(publisher, subscriber):
    sub = await subscriber.subscribe("ok.talk")
    await subscriber.flush()
    await publisher.publish("ok.talk", b"hi")
    await publisher.flush()
    await subscriber.flush()
    try:
        await sub.next_msg(timeout=0.3)
        return True
    except nats.errors.TimeoutError:
        return False
    finally:
        await sub.unsubscribe()


async def users_and_keys(binary, directory):
    server = Secured(binary, directory, USERS)
    try:
        await server.start()
        a = await server.connect(user="a", password="a")
        b = await server.connect(nkeys_seed_str=SEED)
        assert await hears(a, a) and await hears(b, b)
        assert not await hears(a, b) and not await hears(b, a)
        await refused(server.connect(user="a", password="b"))
        await refused(server.connect())
        errors = asyncio.Queue()
        limited = await server.connect(user="limited", password="l", error_cb=errors.put)
        await limited.publish("no", b"")
        told = str(await asyncio.wait_for(errors.get(), 10)).lower()
        assert 'permissions violation for publish to "no"' in told, told
        assert await hears(limited, a)
        for connection in (a, b, limited):
            await connection.close()
    finally:
        server.kill()


async def tokens(binary, directory):
    server = Secured(binary, directory, "authorization { token: s3cret }\n")
    try:
        await server.start()
        await (await server.connect(token="s3cret")).close()
        await refused(server.connect(token="other"))
    finally:
        server.kill()


def certify(directory):
    """An authority, and certificates of a server and a client."""

    def openssl(*arguments):
        command = ["openssl", *arguments]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=CA")
    for name, alternative in [("server", "IP:127.0.0.1"), ("client", "email:a@example.com")]:
        extensions = pathlib.Path(directory) / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\nbasicConstraints=CA:FALSE\n")
        request = ["-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}"]
        openssl("req", *key, *request)
        issuer = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial"]
        out = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", *issuer, *out, "-days", "2")


async def certificates(binary, directory):
    certify(directory)
    conf = (
        f'tls {{ cert_file: "{directory}/server.pem", key_file: "{directory}/server-key.pem"\n'
        f'ca_file: "{directory}/ca.pem", verify_and_map: true }}\n'
        'authorization { users: [{user: "a@example.com"}] }\n'
    )
    server = Secured(binary, directory, conf)
    try:
        await server.start()
        trusting = ssl.create_default_context(cafile=f"{directory}/ca.pem")
        known = ssl.create_default_context(cafile=f"{directory}/ca.pem")
        known.load_cert_chain(f"{directory}/client.pem", f"{directory}/client-key.pem")
        client = await server.connect("tls", tls=known)
        assert await hears(client, client)
        await client.close()
        await refused(server.connect("tls", tls=trusting))
        await refused(server.connect("tls", tls=ssl.create_default_context()))
    finally:
        server.kill()


async def run(binary):
    for check in (users_and_keys, tokens, certificates):
        with tempfile.TemporaryDirectory() as directory:
            await asyncio.wait_for(check(binary, directory), 60)
        print(f"ok {check.__name__}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(run(sys.argv[1]))
