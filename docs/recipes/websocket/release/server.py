"""A release of the shop, for the test of this recipe: WebSockets that echo, and some pages."""

import asyncio
import json
import os
import signal
from http import HTTPStatus

import websockets

VERSION = "1"
SLOT = os.environ["SHOP_SLOT"]


def page(headers):
    return {"slot": SLOT, "request_id": headers.get("X-Request-Id", "")}


def products(headers):
    return [{"name": "tea"}]


PAGES = {"/": page, "/products": products, "/health/ready": lambda headers: {"ready": True}}


async def answer(path, headers):
    """Answers what is no WebSocket. None goes on with the handshake."""
    if path == "/socket":
        return None
    about = [("Content-Type", "application/json"), ("X-Version", VERSION), ("X-Slot", SLOT)]
    if path not in PAGES:
        return HTTPStatus.NOT_FOUND, about, b"{}"
    return HTTPStatus.OK, about, json.dumps(PAGES[path](headers)).encode()


async def echo(socket):
    async for message in socket:
        await socket.send(f"{VERSION} {message}")


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with websockets.serve(echo, "127.0.0.1", int(os.environ["PORT"]), process_request=answer):
        await stop


asyncio.run(main())
