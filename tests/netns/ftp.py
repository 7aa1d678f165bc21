# SPDX-License-Identifier: GPL-2.0-or-later
"""A small FTP server and client (RFC 959, RFC 2428) whose sockets live in network namespaces, enough to make the kernel's
helper work: PASV, EPSV, PORT and EPRT, data both ways. Data connections are announced and opened in two steps, so that
something can happen in between."""
import contextlib
import re
import socket
import threading

DATA = bytes(range(256)) * 400


def listen(net, address):
    listener = net.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(16)
    return listener


def host_port(text):
    """The address of a PORT command or of the answer to PASV."""
    numbers = re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", text).groups()
    return ".".join(numbers[:4]), int(numbers[4]) << 8 | int(numbers[5])


def port_text(address, port):
    return ",".join([*address.split("."), str(port >> 8), str(port & 255)])


def receive_all(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class Server:
    """Serves until its namespace goes. STOR answers 226 only for DATA, what RETR sends is DATA."""

    def __init__(self, net, address, port=21):
        self.net, self.address = net, address
        self.listener = listen(net, (address, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.listener.close()

    def _serve(self):
        while True:
            try:
                connection = self.listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # two answers in a row need no waiting
            except OSError:
                return
            threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, control):
        answer = lambda line: control.sendall(line.encode() + b"\r\n")
        open_data = None
        with contextlib.suppress(OSError), control, control.makefile("r", encoding="ascii", newline="\r\n") as lines:
            answer("220 ready")
            for line in lines:
                word, _, argument = line.strip().partition(" ")
                if word in ("PASV", "EPSV"):
                    listener = listen(self.net, (self.address, 0))
                    listener.settimeout(5)
                    open_data = lambda listener=listener: listener.accept()[0]
                    port = listener.getsockname()[1]
                    answer(f"227 Entering Passive Mode ({port_text(self.address, port)})." if word == "PASV" else
                           f"229 Entering Extended Passive Mode (|||{port}|)")
                elif word in ("PORT", "EPRT"):
                    target = host_port(argument) if word == "PORT" else (argument.split("|")[2], int(argument.split("|")[3]))
                    open_data = lambda target=target: self._connect(target)
                    answer("200 fine")
                elif word in ("RETR", "STOR"):
                    answer("150 opening")
                    answer(self._transfer(word, open_data))
                else:
                    answer("200 fine")

    def _connect(self, target):
        connection = self.net.socket()
        connection.settimeout(3)
        connection.bind((self.address, 0))
        connection.connect(target)
        return connection

    @staticmethod
    def _transfer(word, open_data):
        try:
            with open_data() as data:
                data.settimeout(3)
                if word == "RETR":
                    data.sendall(DATA)
                    return "226 done"
                return "226 done" if receive_all(data) == DATA else "451 damaged"
        except OSError as error:
            return f"425 {error}"


class Client:
    """One control connection from `source` to `server`, which are (address, port)."""

    def __init__(self, net, source, server):
        self.net, self.source = net, source
        self.control = net.socket()
        self.control.settimeout(4)
        self.control.bind(source)
        self.control.connect(server)
        self.lines = self.control.makefile("r", encoding="ascii", newline="\r\n")
        self.expect("220")
        self.command("USER anonymous")  # the kernel's helper does not look into the first line of a direction

    def close(self):
        self.lines.close()
        self.control.close()

    def expect(self, code):
        line = self.lines.readline().strip()
        if not line.startswith(code):
            raise OSError(f"answer {line!r} instead of {code}")
        return line

    def command(self, line, code="200"):
        self.control.sendall(line.encode() + b"\r\n")
        return self.expect(code)

    def announce(self, way):
        """Announces a data connection with PASV, EPSV, PORT or EPRT; what it returns opens it."""
        if way == "PASV":
            target = host_port(self.command(way, "227"))
        elif way == "EPSV":
            target = self.control.getpeername()[0], int(self.command(way, "229").split("|")[3])
        else:
            listener = listen(self.net, (self.source[0], 0))
            listener.settimeout(4)
            address, port = listener.getsockname()
            self.command(f"PORT {port_text(address, port)}" if way == "PORT" else f"EPRT |1|{address}|{port}|")
            return lambda: listener.accept()[0]

        def connect():
            data = self.net.socket()
            data.settimeout(4)
            data.bind((self.source[0], 0))
            data.connect(target)
            return data
        connect.target = target
        return connect

    def transfer(self, open_data, word):
        """RETR or STOR over an announced connection; fails unless all bytes came through and the server says so."""
        passive = open_data.__name__ == "connect"
        if passive:  # before the command: this is the packet that the expectation is for
            data = open_data()
            self.command(word, "150")
        else:
            self.command(word, "150")
            data = open_data()
        with data:
            data.settimeout(4)
            if word == "RETR":
                if receive_all(data) != DATA:
                    raise OSError("received something else than was sent")
            else:
                data.sendall(DATA)
        self.expect("226")
