"""A release of the shop, for the test of this recipe."""

import json
import os

VERSION = "1"
SLOT = os.environ["SHOP_SLOT"]


def page(environ):
    return {"slot": SLOT, "request_id": environ.get("HTTP_X_REQUEST_ID", "")}


def products(environ):
    return [{"name": "tea"}]


PAGES = {"/": page, "/products": products, "/health/ready": lambda environ: {"ready": True}}


def application(environ, start_response):
    answer, status = {}, "404 Not Found"
    if environ["PATH_INFO"] in PAGES:
        answer, status = PAGES[environ["PATH_INFO"]](environ), "200 OK"
    body = json.dumps(answer).encode()
    start_response(status, [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Version", VERSION),
        ("X-Slot", SLOT),
    ])
    return [body]
