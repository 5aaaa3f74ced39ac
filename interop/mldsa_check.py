"""Checks the ML-DSA-44 line of a checkpoint with PyPI's `cryptography`, and ends with 1 if it fails.

Usage: mldsa_check.py TRUST CHECKPOINT

TRUST is the log's trust file; the message is built from the words of C2SP tlog-cosignature alone.
It also shows that it can refuse: each of a few changes of message and signature must fail.
Not here: the Ed25519 half, and anything of ours.
"""

import base64
import hashlib
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

ML_DSA_44 = 0x06


def trusted_key(policy):
    """The name, key id and public key of the trust file's line `witness pq <vkey>`."""
    for line in policy.splitlines():
        words = line.split()
        if words[:2] == ["witness", "pq"]:
            name, key_id, encoded = words[2].split("+", 2)
            data = base64.b64decode(encoded, validate=True)
            if data[0] != ML_DSA_44 or len(data) != 1 + 1312:
                raise ValueError("the key of pq is not an ML-DSA-44 key")
            derived = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
            if derived.hex() != key_id:
                raise ValueError(f"the key id of pq is {key_id}, its key's is {derived.hex()}")
            return name, derived, data[1:]
    raise ValueError("the trust file has no line `witness pq`")


def signature_of(note, name, key_id):
    """The text of the note, and the timestamp and signature of the key's line."""
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        _, signer, encoded = line.split(" ")
        data = base64.b64decode(encoded, validate=True)
        if signer == name and data[:4] == key_id:
            if len(data) != 4 + 8 + 2420:
                raise ValueError(f"the line has {len(data)} bytes")
            return text + "\n", struct.unpack(">Q", data[4:12])[0], data[12:]
    raise ValueError("the checkpoint has no line of the key of pq")


def message_of(name, timestamp, text):
    """The bytes that are signed: C2SP tlog-cosignature, subtree/v1 from 0 to the size."""
    origin, size, root = text.splitlines()
    root = base64.b64decode(root, validate=True)
    if len(root) != 32 or timestamp == 0:
        raise ValueError("a root of 32 bytes and a timestamp are needed")
    labelled = [bytes([len(word)]) + word for word in (name.encode(), origin.encode())]
    return (
        b"subtree/v1\n\0"
        + labelled[0]
        + struct.pack(">Q", timestamp)
        + labelled[1]
        + struct.pack(">QQ", 0, int(size))
        + root
    )


def verifies(key, signature, message):
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: mldsa_check.py TRUST CHECKPOINT")
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        name, key_id, public = trusted_key(file.read())
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        text, timestamp, signature = signature_of(file.read(), name, key_id)
    message = message_of(name, timestamp, text)
    key = MLDSA44PublicKey.from_public_bytes(public)
    if not verifies(key, signature, message):
        sys.exit("mldsa_check: the ML-DSA-44 signature does not verify")
    for at in (0, len(message) // 2, len(message) - 1):
        changed = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        if verifies(key, signature, changed):
            sys.exit(f"mldsa_check: byte {at} of the message is not covered")
    if verifies(key, signature[:-1] + bytes([signature[-1] ^ 1]), message):
        sys.exit("mldsa_check: the last byte of the signature is not checked")
    print(f"mldsa_check: size {text.splitlines()[1]} verified, time {timestamp}")


if __name__ == "__main__":
    main()
