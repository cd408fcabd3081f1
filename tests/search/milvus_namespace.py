"""Runs a Milvus server whose ports only this process sees, and forwards a Unix socket to it.

The server of the package `milvus` listens on all interfaces, so it gets a network namespace of its own:
`unshare -rn python milvus_namespace.py FOLDER SOCKET`. A Unix socket is a file, so clients outside reach it.
"""

import asyncio
import ctypes
import fcntl
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

SIOCSIFFLAGS, IFF_UP, PR_SET_PDEATHSIG = 0x8914, 1, 1


def bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


async def copy(reader, writer):
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def forward(path, port):
    async def connect(reader, writer):
        with suppress(asyncio.CancelledError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await asyncio.start_unix_server(connect, path):
        print("ready", flush=True)
        await stop.wait()


def main(folder, path):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("refusing to listen on the interfaces of this machine: start this with unshare -n")
    bring_up_loopback()
    from milvus import MilvusServer, MilvusServerConfig

    server = MilvusServer(MilvusServerConfig(data_dir=str(Path(folder).resolve())))
    server.config.set("proxy.timeTickInterval", 20)  # ms; reads after writes wait for it
    server.start()
    try:
        asyncio.run(forward(path, server.listen_port))
    finally:
        server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
