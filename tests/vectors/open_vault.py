#!/usr/bin/env python3
"""Opens a vault of procurify-token, or a backup of one, without procurify-token.

    open_vault.py VAULT key-file FILE     FILE holds a key file's line, wherever that came from; - is standard input
    open_vault.py VAULT passphrase        asks for it, or reads it from standard input
    open_vault.py VAULT recovery-code     likewise
    open_vault.py VAULT slots             says what opens it, and needs no key

It prints one JSON object, with all client secrets in the clear: mind where that goes. It never writes to the vault, and does
not wipe its memory. It was written from the documentation alone (the first comments of format.rs, slots.rs, seal.rs,
key_file.rs, contents.rs and record.rs in daemon/src/vault/, and protocol/src/specification.md), and shares no code with
the daemon: a test has both agree. Needs Python 3.11 and what requirements.txt beside it names.
"""

import getpass
import hashlib
import json
import re
import sys
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"\x89PTVLT\r\n"
KINDS = {1: "key file", 2: "passphrase", 3: "recovery code", 4: "command", 5: "keychain", 6: "systemd credential"}
OPENED_BY = {"key-file": {1, 4, 5, 6}, "passphrase": {2}, "recovery-code": {3}}
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NOT_KNOWN = -(2**63)


class Unreadable(Exception):
    """Why this vault cannot be opened, in a sentence."""


class Reader:
    """Takes bytes from the front, and says so when there are none left."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Unreadable(f"it ends after {len(self.data)} bytes, in the middle of something")
        self.at += count
        return self.data[self.at - count : self.at]

    def uint(self, size):
        return int.from_bytes(self.take(size), "little")

    def end(self, what):
        if self.at != len(self.data):
            raise Unreadable(f"{len(self.data) - self.at} bytes are left over behind {what}")


class Record(Reader):
    """The values in a sealed body: "Bodies" in protocol/src/specification.md."""

    def varint(self):
        first = self.uint(1)
        if first <= 250:
            return first
        if first > 253:
            raise Unreadable(f"no integer begins with {first}")
        return self.uint({251: 2, 252: 4, 253: 8}[first])

    def time(self):
        zigzag = self.varint()
        return -(zigzag + 1) // 2 if zigzag % 2 else zigzag // 2

    def bytes(self):
        return self.take(self.varint())

    def text(self):
        return self.bytes().decode("utf-8")

    def optional(self, read):
        there = self.uint(1)
        if there > 1:
            raise Unreadable(f"{there} is neither 'nothing' nor 'something'")
        return read() if there else None


# Boxes (seal.rs)


def hkdf(key, salt, info):
    """HKDF-SHA256 of 32 bytes; no salt is 32 zero bytes (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def open_box(key, purpose, box, associated):
    """What is in the box, or InvalidTag."""
    if len(box) < 32 + 16:
        raise InvalidTag
    salt, sealed = box[:32], box[32:]
    one_time_key = hkdf(key, salt, b"procurify-token vault v1 " + purpose)
    return AESGCM(one_time_key).decrypt(bytes(12), sealed, associated)


# The file (format.rs)


def read_file(data):
    """The format, the slots, the sealed body, and what it is bound to."""
    if data[:8] != MAGIC:
        raise Unreadable("it does not begin as a vault does")
    if len(data) < 8 + 2 + 8 + 1 + 8 + 32 or data[-32:] != hashlib.sha256(data[:-32]).digest():
        raise Unreadable("it is damaged: its checksum is another")
    file = Reader(data[:-32])
    file.take(8)
    number = file.uint(2)
    if number not in (1, 2):
        raise Unreadable(f"it has format {number}, and this program knows 1 and 2")
    if file.uint(8) != len(data):
        raise Unreadable("it is damaged: its length is another")
    slots = []
    for _ in range(file.uint(1)):
        slot = {"kind": file.uint(1)}
        if number >= 2:
            slot["id"] = file.take(4).hex()
            added_at = int.from_bytes(file.take(8), "little", signed=True)
            slot["added_at"] = None if added_at == NOT_KNOWN else added_at
            slot["description"] = file.take(file.uint(2)).decode("utf-8")
        slot["payload"] = file.take(file.uint(2))
        if number == 1:
            slot |= {"id": hashlib.sha256(slot["payload"]).digest()[:4].hex(), "added_at": None, "description": ""}
        slots.append(slot)
    length = file.uint(8)
    associated = file.data[: file.at]  # Everything so far, the body's length included.
    body = file.take(length)
    file.end("the sealed body")
    return number, slots, body, associated


# The slots (slots.rs)


def key_of_line(line):
    found = re.fullmatch(rb"PROCURIFY-TOKEN-KEY-1 ([0-9A-Fa-f]{64})\n?", line)
    if not found:
        raise Unreadable("this is not the one line of a key file")
    return bytes.fromhex(found[1].decode("ascii"))


def key_of_code(typed):
    """Eight groups of four digits and their check. The 32 digits, of five bits each, are 160 bits, the highest first."""
    text = "".join(typed.decode("utf-8", "replace").upper().replace("-", " ").split())
    text = text.translate(str.maketrans("OIL", "011"))
    if len(text) != 40 or set(text) - set(CODE_ALPHABET):
        raise Unreadable("this is not a recovery code: eight groups of five characters")
    bits = 0
    for number in range(1, 9):
        *digits, check = (CODE_ALPHABET.index(character) for character in text[5 * number - 5 : 5 * number])
        expected = number
        for weight, digit in zip((2, 4, 8, 16), digits):
            expected ^= gf32_product(weight, digit)
            bits = bits << 5 | digit
        if check != expected:
            raise Unreadable(f"group {number} of the recovery code is mistyped")
    return hkdf(bits.to_bytes(20, "big"), None, b"procurify-token vault v1 recovery code")


def gf32_product(a, b):
    """The product in GF(32) modulo x^5 + x^2 + 1."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        b >>= 1
        a <<= 1
        if a & 32:
            a ^= 0b100101
    return product


def key_of_passphrase(passphrase, parameters):
    fields = Reader(parameters)
    memory_kib, passes, lanes, salt = fields.uint(4), fields.uint(4), fields.uint(4), fields.take(16)
    fields.end("the parameters of the passphrase")
    if not (8 * 1024 <= memory_kib <= 1024 * 1024 and 1 <= passes <= 16 and 1 <= lanes <= 8):
        raise Unreadable("it asks for more work on a passphrase than any vault does")
    return hash_secret_raw(passphrase, salt, passes, memory_kib, lanes, 32, Type.ID, version=0x13)


def open_slots(slots, how, given):
    """The vault key and the slot that gave it: the first that opens with what was given."""
    fitting = [slot for slot in slots if slot["kind"] in OPENED_BY[how]]
    if not fitting:
        raise Unreadable(f"no slot of this vault is opened by a {how.replace('-', ' ')}")
    for slot in fitting:
        public, box = slot["payload"][:-80], slot["payload"][-80:]
        if how == "passphrase":
            key = key_of_passphrase(given, public)
        else:
            key = key_of_code(given) if how == "recovery-code" else key_of_line(given)
        try:
            return open_box(key, b"slot", box, bytes([slot["kind"]]) + public), slot
        except InvalidTag:
            pass  # Another slot of the kind may fit.
    raise Unreadable(f"this {how.replace('-', ' ')} does not open it")


# The credentials (contents.rs)


def read_pair(record, key, name):
    client_id, version, box, added_at = record.text(), record.varint(), record.bytes(), record.time()
    associated = name.encode() + b"\0" + client_id.encode() + b"\0" + version.to_bytes(8, "little")
    secret = open_box(key, b"client secret", box, associated).decode("utf-8")
    return {"client_id": client_id, "client_secret": secret, "version": version, "added_at": added_at}


def read_credential(record, key):
    credential = {field: record.text() for field in ("name", "description", "base_url", "token_url", "audience")}
    credential["body_encoding"] = ("json", "form")[record.varint()]
    credential["added_at"] = record.time()

    def pair():
        return read_pair(record, key, credential["name"])

    credential["in_use"] = pair()
    credential["staged"] = record.optional(pair)
    credential["previous"] = record.optional(pair)
    return credential


def read_body(body, key):
    record = Record(body)
    next_version = record.varint()
    credentials = [read_credential(record, key) for _ in range(record.varint())]
    record.end("the last credential")
    return next_version, credentials


# The command


def main(path, how, *more):
    number, slots, sealed_body, associated = read_file(Path(path).read_bytes())
    shown = [{name: value for name, value in slot.items() if name != "payload"} for slot in slots]
    told = {"format": number, "slots": shown}
    if how != "slots":
        key, slot = open_slots(slots, how, what_opens_it(how, *more))
        told["opened_by"] = slot["id"]
        told["next_version"], told["credentials"] = read_body(open_box(key, b"body", sealed_body, associated), key)
    for slot in shown:
        slot["kind"] = KINDS.get(slot["kind"], f"kind {slot['kind']}, of a later version")
    print(json.dumps(told, indent=2))


def what_opens_it(how, file="-"):
    if file != "-":
        return Path(file).read_bytes()
    if how != "key-file" and sys.stdin.isatty():
        return getpass.getpass(f"{how}: ").encode("utf-8")
    given = sys.stdin.buffer.read()
    return given.removesuffix(b"\n").removesuffix(b"\r") if how == "passphrase" else given


if __name__ == "__main__":
    words = sys.argv[1:]
    takes = {"key-file": (2, 3), "passphrase": (2,), "recovery-code": (2,), "slots": (2,)}
    if len(words) < 2 or len(words) not in takes.get(words[1], ()):
        sys.exit(__doc__)
    try:
        main(*words)
    except InvalidTag:
        sys.exit("open_vault.py: a box in it does not open: somebody changed it, or it is of another vault")
    except (Unreadable, OSError, ValueError, IndexError) as problem:
        sys.exit(f"open_vault.py: {problem}")
