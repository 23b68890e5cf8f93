"""The wire between serve and a runner (docs/wire.md), spoken by the tests, well or badly."""
import array
import json
import socket
import struct

TYPES = ("LOAD START JOB CREDIT CANCEL BUDGET PING QUIT HELLO PLAN REFUSE PROGRESS READY PONG TEXT THINK CALLS TOKENS VECTOR "
         "WARN DONE FAIL LOG ENGINES ABOUT IMPORT").split()
NUMBER = {name: i + 1 for i, name in enumerate(TYPES)}


def header(kind, n_head=0, n_data=0, job=0, version=1, n_fd=0, magic=b"CW"):
    number = NUMBER[kind] if isinstance(kind, str) else kind
    return magic + struct.pack("<BBB3xIIQ", number, version, n_fd, n_head, n_data, job)


def frame(kind, head=None, data=b"", job=0, n_fd=0):
    """head: an object, or bytes as they are."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode() if head is not None else b""
    return header(kind, len(text), len(data), job, n_fd=n_fd) + text + data


def send(sock, data, fds=()):
    if fds:
        n = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        data = data[n:]
    sock.sendall(data)


def receive_bytes(sock, n, fds):
    data = b""
    while len(data) < n:
        piece, passed, _, _ = socket.recv_fds(sock, n - len(data), 32)
        fds += passed
        if not piece:
            raise EOFError
        data += piece
    return data


def receive(sock):
    """type, job, head, data, descriptors of the next frame; EOFError."""
    fds = []
    first = receive_bytes(sock, 24, fds)
    assert first[:2] == b"CW", first
    number, _, _, n_head, n_data, job = struct.unpack("<BBB3xIIQ", first[2:])
    head = json.loads(receive_bytes(sock, n_head, fds) or b"{}")
    return TYPES[number - 1], job, head, receive_bytes(sock, n_data, fds), fds
