"""An agent in the virtual machine, whose API server is on the host: run by hack/vm.sh with VM_NETWORK=1.

    python -m support.guest NODE KUBECONFIG API_PORT ORDERS_PORT MODULES

The host is 10.0.2.2 behind QEMU's network; certificates are about 127.0.0.1, so a forwarder carries that port over. What the
host sends to the connection for orders is done: `calls N` makes N calls of getppid, and is answered `done`.
"""

from __future__ import annotations

import ctypes
import fcntl
import lzma
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

COMM = "in-the-guest"
HOST = "10.0.2.2"
_INIT_MODULE = 175  # syscall of x86_64
_SET_ADDRESS, _SET_MASK, _GET_FLAGS, _SET_FLAGS = 0x8916, 0x891C, 0x8913, 0x8914  # SIOCS…


def load(module: Path) -> None:
    """Load a compressed module; one that is loaded already is fine."""
    data = lzma.decompress(module.read_bytes())
    ctypes.CDLL(None, use_errno=True).syscall(_INIT_MODULE, data, len(data), b"")


def configure(name: str, address: str) -> None:
    """Give an interface its address, and turn it on (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, what in ((_SET_ADDRESS, address), (_SET_MASK, "255.255.255.0")):
            sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(what))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), sockaddr))
        flags = fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sH22x", name.encode(), 0))
        (now,) = struct.unpack_from("=H", flags, 16)
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH22x", name.encode(), now | 1))


def carry(port: int) -> None:
    """Forward 127.0.0.1:port to the host's, for ever, in threads."""
    server = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        while True:
            here, _ = server.accept()
            there = socket.create_connection((HOST, port))
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes one way until there are none."""
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        one.close()
        other.close()


def make_calls(count: int) -> None:
    """As a process of a name of its own."""
    Path("/proc/self/comm").write_text(COMM)
    for _ in range(count):
        os.getppid()
    Path("/proc/self/comm").write_text("python")


def main(node: str, kubeconfig: str, port: int, orders: int, modules: Path) -> int:
    """Until the host closes the connection for orders."""
    folder = modules / os.uname().release / "kernel"
    for module in ("net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"):
        load(folder / f"{module}.ko.xz")
    for _ in range(100):
        names = {name for _, name in socket.if_nameindex()} - {"lo"}
        if names:
            break
        time.sleep(0.1)
    configure(names.pop(), "10.0.2.15")
    carry(port)
    program = "import sys; from kubebpf.cli.main import main; sys.exit(main())"
    agent = subprocess.Popen([sys.executable, "-c", program, "agent", "--node-name", node, "--kubeconfig", kubeconfig])
    with socket.create_connection((HOST, orders)) as connection, connection.makefile("rw") as lines:
        for line in lines:
            make_calls(int(line.split()[1]))
            print("done", file=lines, flush=True)
    agent.terminate()
    return agent.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])))
