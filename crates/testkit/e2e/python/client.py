"""A stock python-socketio client by remote control.

Reads orders and says what happens, one JSON object a line. Bytes are written as {"$bytes": BASE64}. It ends with its input.

    {"do": "connect", "url": …, "transports": […], "auth": {…}, "namespaces": […]}
    {"do": "call", "n": …, "namespace": …, "event": …, "args": …}      the answer comes back under the same n
"""

import asyncio
import base64
import json
import sys

import socketio

TIMEOUT_SECONDS = 8


def plain(value):
    """What JSON can say of a value."""
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def say(what, **details):
    print(json.dumps({"what": what, **plain(details)}), flush=True)


class Remote:
    def __init__(self):
        self.client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.3)
        on = self.client.on
        on("connect", self.connected, namespace="*")
        on("connect_error", self.refused, namespace="*")
        on("disconnect", self.disconnected, namespace="*")
        on("__disconnect_final", self.gave_up, namespace="*")
        on("*", self.received, namespace="*")

    async def connected(self, namespace):
        say("connected", namespace=namespace, sid=self.client.get_sid(namespace))

    async def refused(self, namespace, data):
        say("refused", namespace=namespace, data=data)

    async def disconnected(self, namespace, reason):
        say("disconnected", namespace=namespace, reason=reason)

    async def gave_up(self, namespace):
        """It will not reconnect."""
        say("gave up", namespace=namespace)

    async def received(self, event, namespace, *args):
        say("event", name=event, namespace=namespace, args=args)
        # What a handler returns is the answer, if the other side asked for one.
        return args[0] if event == "echo" else None

    async def connect(self, order):
        try:
            await self.client.connect(
                order["url"],
                auth=order["auth"],
                transports=order["transports"],
                namespaces=order["namespaces"],
                wait_timeout=TIMEOUT_SECONDS,
            )
        except socketio.exceptions.ConnectionError as error:
            say("failed", error=str(error))
            return
        say("ready", transport=self.client.transport())

    async def call(self, order):
        try:
            where = order["namespace"]
            answer = await self.client.call(order["event"], order["args"], namespace=where, timeout=TIMEOUT_SECONDS)
            say("answer", n=order["n"], answer=answer)
        except socketio.exceptions.SocketIOError as error:
            say("answer", n=order["n"], error=repr(error))

    async def obey(self, lines):
        """Returns when there are no more orders."""
        calls = set()
        while line := await lines.readline():
            order = json.loads(line)
            if order["do"] == "connect":
                await self.connect(order)
            else:
                call = asyncio.create_task(self.call(order))
                calls.add(call)
                call.add_done_callback(calls.discard)


async def standard_input():
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def main():
    remote = Remote()
    await remote.obey(await standard_input())
    await remote.client.shutdown()


asyncio.run(main())
