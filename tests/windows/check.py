#!/usr/bin/env python3
"""Runs nats-server.exe under wine: check.py EXE

At a console: publish and subscribe, streams that are there after a restart, Ctrl-C; TLS; the event log.
As a service: start, reload, reopen, stop and lame duck mode by --signal, and what is wrong told.
Needs wine64, mingw-w64 and openssl.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

PATIENCE = 90  # seconds; wine's first start takes a while


def main(exe):
    wine = shutil.which("wine64") or "/usr/lib/wine/wine64"
    with tempfile.TemporaryDirectory() as scratch:
        machine = Machine(wine, pathlib.Path(scratch), pathlib.Path(exe))
        try:
            machine.boot()
            console(machine)
            tls(machine)
            events(machine)
            service(machine)
        except BaseException:
            for log in sorted(machine.dir.glob("*.log")):
                print(f"-- {log.name}\n{log.read_text()}", file=sys.stderr)
            raise
        finally:
            machine.halt()
    print("all is as it should be")


class Machine:
    """A Windows of its own."""

    def __init__(self, wine, scratch, exe):
        self.wine = wine
        self.dir = scratch / "prefix" / "drive_c" / "test"
        self.exe = exe
        self.env = {
            **os.environ,
            "WINEPREFIX": str(scratch / "prefix"),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d",
        }
        self.alive = None

    def boot(self):
        self.run("wineboot", "-i")
        # What it leaves running forgets services that are made meanwhile.
        self.server("-w")
        self.dir.mkdir(parents=True)
        shutil.copy(self.exe, self.dir / "nats-server.exe")
        shim = self.dir / "bcryptprimitives.dll"
        source = pathlib.Path(__file__).with_name("prng.c")
        compiler = "x86_64-w64-mingw32-gcc"
        subprocess.check_call([compiler, "-shared", "-o", shim, source, "-ladvapi32"])
        # Wine ends its services with the last other program.
        self.alive = self.start("cmd", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def halt(self):
        if self.alive:
            self.alive.stdin.close()
            self.alive.wait(PATIENCE)
        self.server("-k")
        self.server("-w")

    def server(self, what):
        wineserver = pathlib.Path(self.wine).resolve().with_name("wineserver")
        server = str(wineserver) if wineserver.exists() else "wineserver"
        subprocess.run([server, what], env=self.env, check=False, timeout=PATIENCE)

    def start(self, *words, **streams):
        cwd = self.dir if self.dir.exists() else None
        return subprocess.Popen([self.wine, *words], env=self.env, cwd=cwd, **streams)

    def run(self, *words):
        """What a program says, and its status."""
        # No pipe: what of wine goes on in the background would keep it open.
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(*words, stdout=output, stderr=subprocess.STDOUT)
            status = process.wait(PATIENCE)
            output.seek(0)
            return output.read(), status

    def write(self, name, text):
        (self.dir / name).write_text(text)

    def log(self, name):
        path = self.dir / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, name, pattern):
        return wait(lambda: re.search(pattern, self.log(name)), lambda: f"{pattern}: {self.log(name)}")


def wait(condition, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"not in time: {what()}")


class Client:
    def __init__(self, port, protocol=0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.info = json.loads(self.line().removeprefix(b"INFO "))
        connect = {"verbose": False, "headers": True, "protocol": protocol}
        self.say(b"CONNECT %s\r\nPING\r\n" % json.dumps(connect).encode())
        expect(self.line(), b"PONG")

    def say(self, text):
        self.socket.sendall(text)

    def line(self):
        """The next line that is not about being alive."""
        while True:
            line = self.lines.readline()
            if not line:
                raise SystemExit("the server closed the connection")
            if line != b"PING\r\n":
                return line.rstrip(b"\r\n")
            self.say(b"PONG\r\n")

    def message(self):
        """The contents of the next message."""
        words = self.line().split(b" ")
        if words[0] not in (b"MSG", b"HMSG"):
            raise SystemExit(f"no message: {words}")
        return self.lines.read(int(words[-1]) + 2)[:-2]

    def ask(self, subject, body=b""):
        self.say(b"SUB answer 9 \r\nUNSUB 9 1\r\nPUB %s answer %d\r\n%s\r\n" % (subject, len(body), body))
        return self.message()


def expect(got, wanted):
    if got != wanted:
        raise SystemExit(f"{got!r} instead of {wanted!r}")


def core(port):
    """Publishes and subscribes, with small and with large messages."""
    client, other = Client(port), Client(port)
    client.say(b"SUB foo.* 1\r\nPING\r\n")
    expect(client.line(), b"PONG")
    for body in [b"", b"hello", b"x" * 1_000_000]:
        other.say(b"PUB foo.a %d\r\n%s\r\n" % (len(body), body))
        expect(client.message(), body)
    other.say(b"".join(b"PUB foo.%d 1\r\nx\r\n" % i for i in range(20_000)))
    for _ in range(20_000):
        expect(client.message(), b"x")


def monitored(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as http:
        http.sendall(b"GET /varz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: http.recv(65536), b""))
    varz = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    if varz["mem"] < 1 << 20 or varz["cores"] < 1:
        raise SystemExit(f"no figures: {varz}")


def console(machine):
    print("at a console")
    text, status = machine.run("nats-server.exe", "--version")
    expect((text[:15], status), ("nats-server: v2", 0))
    port, pid = None, None
    for turn in range(2):
        log = f"console{turn}.log"
        words = ["-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-js", "-sd", r"C:\test\store", "-l", log]
        server = machine.start("nats-server.exe", *words)
        machine.wait_for(log, "Server is ready")
        found = machine.wait_for(log, r"client connections on 127\.0\.0\.1:(\d+)")
        client = Client(int(found[1]))
        if turn == 0:
            core(int(found[1]))
            monitored(int(machine.wait_for(log, r"http monitor on 127\.0\.0\.1:(\d+)")[1]))
            made = client.ask(b"$JS.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s.*"]}')
            if b"error" in made:
                raise SystemExit(made)
            for i in range(100):
                expect(b'"seq":%d' % (i + 1) in client.ask(b"s.%d" % (i % 7), b"%d" % i), True)
        info = json.loads(client.ask(b"$JS.API.STREAM.INFO.S"))
        expect(info["state"]["messages"], 100)
        # Wine makes Ctrl-C of it.
        server.send_signal(signal.SIGINT)
        expect(server.wait(PATIENCE), 0)
        machine.wait_for(log, 'Trapped "interrupt" signal')
        machine.wait_for(log, "Server Exiting")


def tls(machine):
    print("with TLS")
    subprocess.check_call(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", machine.dir / "key.pem", "-out", machine.dir / "cert.pem"],
        stderr=subprocess.DEVNULL)
    words = ["--tls", "--tlscert", "cert.pem", "--tlskey", "key.pem"]
    server = machine.start("nats-server.exe", "-a", "127.0.0.1", "-p", "-1", "-l", "tls.log", *words)
    port = int(machine.wait_for("tls.log", r"client connections on 127\.0\.0\.1:(\d+)")[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = context.wrap_bio(come, go)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        while not plain.recv(65536).endswith(b"\n"):
            pass

        def exchange(act):
            while True:
                try:
                    done = act()
                except ssl.SSLWantReadError:
                    done = None
                plain.sendall(go.read())
                if done is not None:
                    return done
                come.write(plain.recv(65536))

        try:
            peer.do_handshake()
        except ssl.SSLWantReadError:
            # The first message in pieces: the server has to look more than once.
            for byte in go.read(4):
                plain.sendall(bytes([byte]))
                time.sleep(0.05)
        exchange(lambda: peer.do_handshake() or True)
        body = b"x" * 1_000_000
        exchange(lambda: peer.write(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n'))
        got = b""
        while b"PONG" not in got:
            got += exchange(lambda: peer.read(65536))
        rest = b"PUB foo %d\r\n%s\r\n" % (len(body), body)
        while rest:
            rest = rest[exchange(lambda: peer.write(rest[:16384])):]
        got = b""
        while not got.endswith(body + b"\r\n"):
            got += exchange(lambda: peer.read(65536))
    server.send_signal(signal.SIGINT)
    expect(server.wait(PATIENCE), 0)


def events(machine):
    print("to the event log")
    # Wine shows the events, and keeps none.
    machine.env["WINEDEBUG"] = "-all,trace+eventlog"
    with open(machine.dir / "events.log", "w") as output:
        server = machine.start("nats-server.exe", "-a", "127.0.0.1", "-p", "-1", "-s", stderr=output)
    machine.env["WINEDEBUG"] = "-all"
    machine.wait_for("events.log", r'ReportEventW L"pid\[\d+\]\[NOTICE\]: Server is ready"')
    server.send_signal(signal.SIGINT)
    expect(server.wait(PATIENCE), 0)
    key = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\NATS-Server"
    expect("EventCreate.exe" in machine.run("reg", "query", key)[0], True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def manage(machine, *words):
    text, status = machine.run("sc", *words)
    if status:
        raise SystemExit(f"sc {' '.join(words)}: {status}: {text}")


def service(machine):
    print("as a service")
    port = free_port()
    config = f'listen: "127.0.0.1:{port}"\nlog_file: "C:/test/service.log"\n'
    machine.write("service.conf", config)
    text, status = machine.run("nats-server.exe", "--signal", "stop=nothing")
    expect((text.startswith("nats-server: could not access service: "), status), (True, 1))
    text, status = machine.run("nats-server.exe", "--signal", "term")
    expect((text.strip(), status), ('nats-server: unknown signal "term"', 1))
    path = r"C:\test\nats-server.exe -c C:\test\service.conf"
    manage(machine, "create", "nats-server", "binPath=", path)

    def start(times):
        manage(machine, "start", "nats-server")
        wait(lambda: machine.log("service.log").count("Server is ready") == times,
             lambda: machine.log("service.log"))
        core(port)

    def tell(what):
        expect(machine.run("nats-server.exe", "--signal", what), ("", 0))

    start(1)
    machine.write("service.conf", config + "debug: true\n")
    tell("reload")
    machine.wait_for("service.log", "Reloaded: debug = true")
    tell("reopen=nats-server")
    machine.wait_for("service.log", "File log re-opened")
    tell("stop")
    machine.wait_for("service.log", "Server Exiting")
    text, status = machine.run("nats-server.exe", "--signal", "reload")
    expect((text.startswith("nats-server: could not send control=6: "), status), (True, 1))
    start(2)
    # One that wants to hear of changes.
    client = Client(port, protocol=1)
    tell("ldm")
    machine.wait_for("service.log", "Entering lame duck mode")
    while b'"ldm":true' not in client.line():
        pass
    client.socket.close()
    wait(lambda: machine.log("service.log").count("Server Exiting") == 2,
         lambda: machine.log("service.log"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
