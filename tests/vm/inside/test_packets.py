"""skboutput: packets of the loopback device in a pcap file, parsed here by the format's description (pcap-savefile(5))."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubebpf.agent.output.dispatch import Dispatcher
from kubebpf.agent.output.files import Files
from kubebpf.agent.output.writers import TextOutput
from kubebpf.agent.session.session import Session
from kubebpf.compiler.artifact.decode import PlainResolver
from support.programs import compiled

SENT = b"seven bytes of a datagram"


@dataclass
class Packet:
    time_s: float
    data: bytes
    whole: int


def packets(path: Path) -> list[Packet]:
    data = path.read_bytes()
    magic, major, minor, _, _, _, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B23C4D, 2, 4, 101)
    found, at = [], 24
    while at < len(data):
        seconds, nanoseconds, kept, whole = struct.unpack_from("=IIII", data, at)
        found.append(Packet(seconds + nanoseconds / 1e9, data[at + 16 : at + 16 + kept], whole))
        at += 16 + kept
    return found


def sent(text: str, files: Files) -> tuple[int, list[str]]:
    """Run a program while a datagram goes to this process: the port that it came from, and the lines that were said."""
    said: list[str] = []
    with (
        Session(compiled(text)) as session,
        socket.socket(type=socket.SOCK_DGRAM) as to,
        socket.socket(type=socket.SOCK_DGRAM) as by,
    ):
        to.bind(("127.0.0.1", 0))
        session.start()
        dispatch = Dispatcher(session, PlainResolver(), TextOutput(lambda kind, line: said.append(line.strip())), files=files)
        by.sendto(SENT, to.getsockname())
        assert to.recv(100) == SENT
        for record in (record for batch in (session.poll(1), session.poll(0.1), session.finish()) for record in batch):
            dispatch(record)
        dispatch.close()
        return by.getsockname()[1], said


def of_port(found: list[Packet], port: int) -> Packet:
    return next(p for p in found if p.data[9] == socket.IPPROTO_UDP and p.data[20:22] == port.to_bytes(2, "big"))


@pytest.mark.entry("skboutput")
def test_skboutput(tmp_path: Path) -> None:
    """The second file is cut to the headers of IP and UDP, behind Ethernet's; a length that the buffer has not is refused."""
    path, cut = tmp_path / "all.pcap", tmp_path / "cut.pcap"
    text = f"""fentry:__dev_queue_xmit /args.skb.len > 60/ {{
        $good = skboutput("{path}", args.skb, args.skb.len, 14);
        $bad = skboutput("{path}", args.skb, args.skb.len + 1, 14);
        printf("%d %d\\n", $good, (int32)$bad);
        skboutput("{cut}", args.skb, 28, 14); }}"""
    before = time.time()
    port, said = sent(text, Files())
    assert "0 -14" in said
    found = of_port(packets(path), port)
    assert found.data[28:] == SENT
    assert found.whole == len(found.data)
    assert before - 1 < found.time_s < time.time() + 1
    assert len([p for p in packets(path) if p.data == found.data]) == 1
    short = of_port(packets(cut), port)
    assert (short.data, short.whole) == (found.data[:28], len(found.data))


def test_skboutput_at_a_node(tmp_path: Path) -> None:
    """A node's agent writes below the folder that it was given, if it was given one, and no more than it may."""
    text = 'rawtracepoint:netif_receive_skb { skboutput("in.pcap", args.skb, args.skb.len, 0); }'
    _, said = sent(text, Files(()))
    assert any("keeps no packets" in line for line in said)
    port, said = sent(text, Files((), kept=tmp_path).of("default_mine"))
    assert of_port(packets(tmp_path / "default_mine/in.pcap"), port).data[28:] == SENT
    assert said == []
    _, said = sent(text, Files((), kept=tmp_path, most=30))
    assert any("is full" in line for line in said)
    _, said = sent(text.replace("in.pcap", "../in.pcap"), Files((), kept=tmp_path))
    assert any("plain name" in line for line in said)


def test_skboutput_elsewhere() -> None:
    with pytest.raises(Exception, match="skboutput"):
        compiled('kprobe:vfs_read { skboutput("a", 0, 1, 0); }')
