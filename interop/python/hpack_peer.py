"""The other end of the tests of HPACK in crates/engine: the package hpack, without a connection.

It does what each line of its input says, as interop/go/hpack.go describes it.
"""

import sys

from hpack import Decoder, Encoder


class Peer:
    def __init__(self):
        self.reset()

    def reset(self):
        self.encoder = Encoder()
        self.decoder = Decoder(max_header_list_size=1 << 30)

    def limit(self, size):
        self.encoder.header_table_size = int(size)

    def allow(self, size):
        self.decoder.max_allowed_table_size = int(size)

    def encode(self, *fields):
        return self.encoder.encode([parse(field) for field in fields]).hex()

    def decode(self, block=""):
        fields = self.decoder.decode(bytes.fromhex(block), raw=True)
        return " ".join(
            f"{bytes(name).hex()}/{bytes(value).hex()}/{int(not field.indexable)}"
            for field in fields
            for name, value in [field]
        )


def parse(field):
    name, value, never = field.split("/")
    return bytes.fromhex(name), bytes.fromhex(value), never == "1"


def main():
    peer = Peer()
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            print("ok", getattr(peer, command)(*arguments) or "", flush=True)
        except Exception as error:
            print("error", repr(error).replace("\n", " "), flush=True)


main()
