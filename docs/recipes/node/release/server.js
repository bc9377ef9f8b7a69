// A release of the shop, for the test of this recipe.
'use strict';
const http = require('node:http');

const VERSION = '1';
const SLOT = process.env.SHOP_SLOT;
const PAGES = {
    '/': (request) => ({ slot: SLOT, request_id: request.headers['x-request-id'] }),
    '/health/ready': () => ({ ready: true }),
    '/products': () => [{ name: 'tea' }],
};

const server = http.createServer((request, response) => {
    const headers = { 'Content-Type': 'application/json', 'X-Version': VERSION, 'X-Slot': SLOT };
    const page = PAGES[request.url];
    let [status, answer] = [404, {}];
    if (page) {
        try {
            [status, answer] = [200, page(request)];
        } catch (error) {
            console.error(error);
            status = 500;
        }
    }
    response.writeHead(status, headers);
    response.end(JSON.stringify(answer));
});

// nginx keeps idle connections for 60 seconds. A server that closes them earlier can close one that nginx is about to use.
server.keepAliveTimeout = 75_000;
server.listen(process.env.PORT, '127.0.0.1');

// Finishes the requests in flight. Connections without one are closed.
process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
});
