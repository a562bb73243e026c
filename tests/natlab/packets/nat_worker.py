"""A process that is the UDP half of a NAT: a TUN in the router's namespace, and a Translator.

Usage: nat_worker NAMESPACE INTERFACE PUBLIC INSIDE BEHAVIOUR, where BEHAVIOUR is JSON. A line with
an address on its input reboots it with that address; it ends when its input does.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from ipaddress import IPv4Address, IPv4Network
from random import Random

from tests.natlab.packets.behaviour import Behaviour
from tests.natlab.packets.translator import Translator
from tests.natlab.packets.tun import be_prompt, open_interface, read_packets, write_packet


def serve(tun: int, translator: Translator) -> None:
    commands = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([commands, tun], [], [])
        if commands in ready:
            command = os.read(commands, 64).decode()
            if not command:
                return
            translator.reboot(IPv4Address(command.strip()))
            print("rebooted", flush=True)
        now = time.monotonic()
        for packet in read_packets(tun):
            translated = translator.translate(packet, now)
            if translated is not None:
                write_packet(tun, translated)


def main() -> None:
    namespace, interface, public, inside, behaviour = sys.argv[1:]
    tun = open_interface(namespace, interface, tap=False)
    translator = Translator(
        Behaviour(**json.loads(behaviour)), IPv4Address(public), IPv4Network(inside), Random()
    )
    be_prompt()
    print("ready", flush=True)
    serve(tun, translator)


if __name__ == "__main__":
    main()
