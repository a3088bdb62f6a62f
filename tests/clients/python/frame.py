"""What the checks with the official Python client share: a server, connections to it, and how they are
run one after the other."""

import asyncio
import socket
import subprocess
import sys
import tempfile
import traceback

import nats

HOST = "127.0.0.1"
CHECK_SECONDS = 60


class Server:
    """The server under test, on a port of its own."""

    def __init__(self, binary, *arguments):
        self.binary = binary
        self.arguments = arguments
        self.log = tempfile.TemporaryFile()
        self.process = None
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]

    async def start(self):
        command = [self.binary, "-a", HOST, "-p", str(self.port), *self.arguments]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(500):
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}")
            try:
                socket.create_connection((HOST, self.port)).close()
                return
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        raise RuntimeError("the server does not listen")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Ends the server as an operator does."""
        self.process.terminate()
        status = self.process.wait(timeout=20)
        assert status == 0, f"status {status} on SIGTERM"

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


class Session:
    """One check's connections, closed at its end."""

    def __init__(self, server):
        self.server = server
        self.connections = []

    async def connect(self, **options):
        url = f"nats://{HOST}:{self.server.port}"
        connection = await nats.connect(url, **options)
        self.connections.append(connection)
        return connection

    async def close(self):
        for connection in self.connections:
            if not connection.is_closed:
                await connection.close()


async def receive(subscription, count=1):
    return [await subscription.next_msg(timeout=10) for _ in range(count)]


async def quiet(subscription):
    """Fails if a message comes."""
    try:
        message = await subscription.next_msg(timeout=0.2)
    except nats.errors.TimeoutError:
        return
    raise AssertionError(f"unexpected message on {message.subject}")


async def run(checks, binary, *arguments):
    """Runs checks against a server of their own; the status to end with."""
    server = Server(binary, *arguments)
    try:
        await server.start()
        for check in checks:
            session = Session(server)
            try:
                await asyncio.wait_for(check(session), CHECK_SECONDS)
                await session.close()
            except BaseException:
                print(f"FAILED {check.__name__}", flush=True)
                raise
            print(f"ok {check.__name__}", flush=True)
        server.stop()
        print("ok stops_when_told", flush=True)
    except BaseException:
        traceback.print_exc()
        server.kill()
        print(f"the server's log:\n{server.output()}", file=sys.stderr)
        return 1
    return 0
