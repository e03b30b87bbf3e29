"""Connections over streams of the h2 package, for asyncio. Needs Python 3.11."""

import asyncio
from collections import deque

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError


class Conn:
    """One stream. Two tasks can read and write it at the same time."""

    def __init__(self, link, stream_id):
        self._link, self.stream_id = link, stream_id
        self._heard = deque()
        self._ended = self._closed = False
        # The header fields of the request or the response, once they have arrived.
        self.headers = None
        # The error that has ended the stream, if it was not END_STREAM.
        self.error = None

    async def read(self):
        """Returns the next bytes. Returns none only after the peer's END_STREAM."""
        await self._link.until(lambda: self._heard or self._ended or self.error)
        if self._heard:
            data, credit = self._heard.popleft()
            # Only now the peer may send as much again, so that a slow reader slows the writer down.
            self._link.h2.acknowledge_received_data(credit, self.stream_id)
            self._link.send()
            return data
        if self._ended:
            return b""
        raise self.error

    async def write(self, data):
        """Returns when the transport has taken the bytes, as far as the peer's windows allow."""
        rest = memoryview(data)
        while rest:
            await self._link.until(lambda: self.error or self._room() > 0)
            if self.error:
                raise self.error
            room = self._room()
            self._link.h2.send_data(self.stream_id, rest[:room])
            rest = rest[room:]
            await self._link.flush()

    def _room(self):
        h2 = self._link.h2
        return min(h2.local_flow_control_window(self.stream_id), h2.max_outbound_frame_size)

    async def end(self):
        """Sends END_STREAM. Reading goes on."""
        if self.error:
            raise self.error
        if not self._closed:
            self._closed = True
            self._link.h2.end_stream(self.stream_id)
            self._link.forget_if_over(self)
            await self._link.flush()

    async def finish(self):
        """Ends this direction, and drops all bytes that arrive until the peer ends its own."""
        await self.end()
        while await self.read():
            pass

    async def reset(self, code=ErrorCodes.CANCEL):
        """Ends both directions at once, so that the peer reads an error."""
        # Bytes that are not acknowledged would be missing from the window of the other streams.
        while self._heard:
            self._link.h2.acknowledge_received_data(self._heard.popleft()[1], self.stream_id)
        if not self.error and not self.over():
            self.error = ConnectionAbortedError("reset by this side")
            self._link.h2.reset_stream(self.stream_id, code)
            self._link.forget_if_over(self)
        await self._link.flush()

    def over(self):
        return self.error or (self._ended and self._closed)

    def on(self, event):
        match event:
            case RequestReceived() | ResponseReceived():
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            case DataReceived(data=b"", flow_controlled_length=credit):
                self._link.h2.acknowledge_received_data(credit, self.stream_id)
            case DataReceived(data=data, flow_controlled_length=credit):
                self._heard.append((data, credit))
            case StreamEnded():
                self._ended = True
            case StreamReset():
                self.error = Reset(event.error_code)


class Reset(ConnectionResetError):
    """The peer has reset the stream, with this code."""

    def __init__(self, code):
        super().__init__(f"the peer has reset the stream with {code!r}")
        self.code = code


class Link:
    """One HTTP/2 connection: h2 makes and reads the frames, and this class moves their bytes."""

    def __init__(self, reader, writer, client, on_request=None):
        self._reader, self._writer, self._on_request = reader, writer, on_request
        self._conns, self._changed = {}, asyncio.Condition()
        self.h2 = H2Connection(H2Configuration(client_side=client))
        self.h2.initiate_connection()
        self.send()

    async def request(self, headers):
        """Opens a stream, and waits for the response."""
        stream_id = self.h2.get_next_available_stream_id()
        self._conns[stream_id] = conn = Conn(self, stream_id)
        self.h2.send_headers(stream_id, headers)
        self.send()
        await self.until(lambda: conn.headers or conn.error)
        if not conn.headers:
            raise conn.error
        return conn

    async def run(self):
        """Reads until the transport ends. It never waits for room to write, because the peer may be
        waiting until this side reads."""
        error = ConnectionResetError("the transport has ended before the stream")
        try:
            while data := await self._reader.read(1 << 16):
                async with self._changed:
                    for event in self.h2.receive_data(data):
                        self._on(event)
                    self._changed.notify_all()
                self.send()
        except (OSError, ProtocolError) as cause:
            error = cause
            self.send()  # h2 has a GOAWAY for a peer that breaks the protocol
        finally:
            async with self._changed:
                for conn in self._conns.values():
                    conn.error = conn.error or error
                self._changed.notify_all()
            self._writer.close()

    def _on(self, event):
        if isinstance(event, RequestReceived):
            self._conns[event.stream_id] = conn = Conn(self, event.stream_id)
            conn.on(event)
            self._on_request(conn)
        elif conn := self._conns.get(getattr(event, "stream_id", None)):
            conn.on(event)
            self.forget_if_over(conn)

    def forget_if_over(self, conn):
        if conn.over():
            self._conns.pop(conn.stream_id, None)

    async def until(self, condition):
        """Waits until the peer makes `condition` true."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def send(self):
        self._writer.write(self.h2.data_to_send())

    async def flush(self):
        self.send()
        await self._writer.drain()

    async def close(self):
        self.h2.close_connection()
        await self.flush()
        self._writer.close()
