"""A release of the shop, for the test of this recipe: a catalogue, and the gRPC health service, over TLS.

A real service generates its messages by protoc, and takes the health service of grpcio-health-checking. Debian does not have
that package, so this file writes the bytes of both messages itself.
"""

import os
import signal
import threading
from concurrent import futures

import grpc

VERSION = "1"
METADATA = (("x-version", VERSION), ("x-slot", os.environ["SHOP_SLOT"]))
# Health of the whole server, and of its service: 1 is SERVING, 2 is NOT_SERVING.
HEALTH = {b"": 1, b"shop.Catalogue": 1}


def check(request, context):
    """HealthCheckRequest has the service in field 1, HealthCheckResponse the status in field 1."""
    if request[2:] not in HEALTH:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return bytes([0x08, HEALTH[request[2:]]])


def first(request, context):
    """The first product: its name in field 1."""
    context.send_initial_metadata(METADATA)
    return b"\x0a\x03tea"


def service(name, **methods):
    handlers = {method: grpc.unary_unary_rpc_method_handler(call) for method, call in methods.items()}
    return grpc.method_handlers_generic_handler(name, handlers)


def read(path):
    with open(path, "rb") as file:
        return file.read()


credentials = grpc.ssl_server_credentials([(read("/etc/shop/server.key"), read("/etc/shop/server.pem"))])
server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((service("grpc.health.v1.Health", Check=check), service("shop.Catalogue", First=first)))
server.add_secure_port(f"127.0.0.1:{os.environ['PORT']}", credentials)
server.start()

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
# Finishes the calls in flight.
server.stop(grace=10).wait()
