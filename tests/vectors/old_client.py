#!/usr/bin/env python3
"""A client of version 1 of the wire protocol, in one file of plain Python.

    old_client.py SOCKET get NAME [MIN_TTL_SECONDS]
    old_client.py SOCKET invalidate NAME FINGERPRINT
    old_client.py SOCKET list
    old_client.py SOCKET describe NAME
    old_client.py SOCKET status

It prints the answer as JSON, and ends with 0; a refusal as {"refused": {...}}, and ends with 1.

It was written from protocol/src/specification.md alone, as a stranger would write it, and stands for every client of version 1
that somebody has installed and does not update. It never changes: where it fails against a daemon, the daemon has broken its word.
"""

import json
import os
import socket
import struct
import sys

VERSION = 1
VERSIONS, REQUEST, ANSWER, REFUSAL = 0, 1, 2, 3
GET, INVALIDATE, LIST, DESCRIBE, STATUS = range(5)
LONGEST_ANSWER = 262_144
DEADLINE = 30


# What is written.

def unsigned(number):
    if number < 251:
        return bytes([number])
    for mark, form in ((251, "<H"), (252, "<I"), (253, "<Q")):
        if number < 1 << (8 * struct.calcsize(form)):
            return bytes([mark]) + struct.pack(form, number)
    raise ValueError(number)


def text(string):
    encoded = string.encode()
    return unsigned(len(encoded)) + encoded


def duration(seconds):
    return unsigned(seconds) + unsigned(0)


def frame(request_id, number, fields=b""):
    body = unsigned(number) + fields
    return struct.pack("<IBBH", 4 + len(body), VERSION, REQUEST, request_id) + body


# What is read.

class Body:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        taken = self.data[self.at:self.at + count]
        assert len(taken) == count, "the body ends too early"
        self.at += count
        return taken

    def byte(self):
        return self.take(1)[0]

    def flag(self):
        return {0: False, 1: True}[self.byte()]

    def unsigned(self):
        first = self.byte()
        if first < 251:
            return first
        form = {251: "<H", 252: "<I", 253: "<Q"}[first]
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def signed(self):
        number = self.unsigned()
        return -(number + 1) // 2 if number % 2 else number // 2

    def text(self):
        return self.take(self.unsigned()).decode()

    def optional(self, read):
        return read() if self.flag() else None

    def list(self, read):
        return [read() for _ in range(self.unsigned())]

    def choice(self, *names):
        return names[self.unsigned()]

    def duration(self):
        return self.unsigned() + self.unsigned() / 1e9

    def fingerprint(self):
        return self.take(8).hex()

    def end(self):
        assert self.at == len(self.data), "bytes are left over"


def token(body):
    return {
        "token": body.text(),
        "fingerprint": body.fingerprint(),
        "expires_at": body.signed(),
        "base_url": body.text(),
    }


def failure(body):
    return {
        "code": body.unsigned(),
        "http_status": body.optional(body.unsigned),
        "request_id": body.optional(body.text),
        "at": body.signed(),
        "attempts": body.unsigned(),
        "message": body.text(),
        "advice": body.text(),
    }


def held_token(body):
    return {"fingerprint": body.fingerprint(), "issued_at": body.signed(), "expires_at": body.signed()}


def credential(body):
    return {
        "name": body.text(),
        "description": body.text(),
        "client_id": body.text(),
        "base_url": body.text(),
        "token_url": body.text(),
        "audience": body.text(),
        "body_encoding": body.choice("json", "form"),
        "added_at": body.signed(),
        "staged": body.flag(),
        "previous": body.flag(),
        "token": body.optional(lambda: held_token(body)),
        "activity": body.choice("resting", "requesting", "backing-off", "barred"),
        "next_attempt_at": body.optional(body.signed),
        "last_failure": body.optional(lambda: failure(body)),
        "budget": [body.unsigned() for _ in range(4)],
    }


def credentials(body):
    return {"page": body.list(lambda: credential(body)), "more": body.flag()}


def daemon(body):
    return {
        "version": body.text(),
        "pid": body.unsigned(),
        "started_at": body.signed(),
        "vault": body.choice("missing", "locked", "open"),
        "vault_path": body.text(),
        "credentials": body.unsigned(),
        "with_token": body.unsigned(),
        "extra_ca": body.optional(body.text),
        "memory": body.choice("none", "locked", "secret"),
        "core_dumps_forbidden": body.flag(),
        "sandbox": body.choice("none", "loosened", "full"),
        "warnings": body.list(body.text),
    }


ANSWERS = {0: lambda body: "done", 1: token, 2: credentials, 3: credential, 4: daemon}


class Refused(Exception):
    pass


def refusal(body):
    return {
        "code": body.unsigned(),
        "retry_after": body.optional(body.duration),
        "message": body.text(),
        "advice": body.text(),
    }


# The conversation.

class Daemon:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(2 * DEADLINE)
        self.socket.connect(path)
        credentials_of_peer = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("iII", credentials_of_peer)
        assert uid in (os.getuid(), 0), "a stranger listens there"
        self.last_id = 0

    def receive(self, count):
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            assert piece, "the daemon has closed the connection"
            received += piece
        return received

    def ask(self, number, fields=b""):
        self.last_id = self.last_id % 65_535 + 1
        self.socket.sendall(frame(self.last_id, number, fields))
        length, version, kind, request_id = struct.unpack("<IBBH", self.receive(8))
        assert 4 <= length <= LONGEST_ANSWER - 4, "no frame is of this length"
        body = Body(self.receive(length - 4))
        if kind == VERSIONS:
            raise SystemExit(f"the daemon speaks versions {body.byte()} to {body.byte()}, and this client 1 alone")
        assert version == VERSION and kind in (ANSWER, REFUSAL), "this is not version 1"
        assert request_id in (self.last_id, 0), "an answer to another request"
        if kind == REFUSAL:
            refused = refusal(body)
            body.end()
            raise Refused(refused)
        assert request_id == self.last_id
        answer = ANSWERS[body.unsigned()](body)
        body.end()
        return answer


def run(path, verb, *words):
    asked = Daemon(path)
    if verb == "get":
        name, min_ttl = words[0], int(words[1]) if len(words) > 1 else 0
        return asked.ask(GET, text(name) + duration(min_ttl) + duration(DEADLINE))
    if verb == "invalidate":
        name, fingerprint = words
        return asked.ask(INVALIDATE, text(name) + bytes.fromhex(fingerprint))
    if verb == "list":
        found, after = [], b"\0"
        while True:
            page = asked.ask(LIST, after)
            found += page["page"]
            if not page["more"]:
                return found
            after = b"\1" + text(found[-1]["name"])
    if verb == "describe":
        return asked.ask(DESCRIBE, text(words[0]))
    if verb == "status":
        return asked.ask(STATUS)
    raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    try:
        print(json.dumps(run(*sys.argv[1:])))
    except Refused as refused:
        print(json.dumps({"refused": refused.args[0]}))
        sys.exit(1)
