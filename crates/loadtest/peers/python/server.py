"""A Socket.IO server on python-socketio with its Redis manager that understands what the load generator says. It stores
nothing and keeps no order across nodes: the comparison is in its favour.

  REDIS_URL=redis://127.0.0.1:6379 python server.py      prints its port
"""

import asyncio
import os
import signal
from urllib.parse import parse_qs

import socketio
import uvloop
from aiohttp import web

manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"])
io = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager, cors_allowed_origins="*")
users = {}


@io.event
async def connect(sid, environ):
    users[sid] = parse_qs(environ["QUERY_STRING"]).get("userId", [""])[0]
    await io.enter_room(sid, f"user:{users[sid]}")


@io.event
async def disconnect(sid, reason):
    users.pop(sid, None)


@io.on("conversation:join")
async def join(sid, conversation):
    await io.enter_room(sid, conversation)
    return {"success": True}


@io.on("message:send")
async def send(sid, message):
    await io.emit("message:new", {**message, "senderId": users[sid]}, room=message["conversationId"], skip_sid=sid)
    return {"success": True}


@io.on("private:message")
async def direct(sid, message):
    one, other = sorted([users[sid], message["recipientUserId"]])
    event = {**message, "conversationId": f"dm:{one}:{other}", "senderId": users[sid]}
    await io.emit("message:new", event, room=f"user:{message['recipientUserId']}", skip_sid=sid)
    return {"success": True}


@io.on("call:signal")
async def call(sid, signal):
    await io.emit("call:signal", {"from": users[sid], "data": signal["data"]}, room=f"user:{signal['userId']}", skip_sid=sid)
    return {"success": True}


async def main():
    app = web.Application()
    io.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    await asyncio.Event().wait()


uvloop.run(main())
