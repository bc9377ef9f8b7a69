<?php
// A release of the shop, for the test of this recipe.
const VERSION = '1';

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$answers = [
    '/' => fn() => ['slot' => getenv('SHOP_SLOT'), 'request_id' => $_SERVER['HTTP_X_REQUEST_ID'] ?? ''],
    '/health/ready' => fn() => ['ready' => true],
    '/products' => fn() => [['name' => 'tea']],
];

header('Content-Type: application/json');
header('X-Version: ' . VERSION);
header('X-Slot: ' . getenv('SHOP_SLOT'));
if (isset($answers[$path])) {
    echo json_encode($answers[$path]());
} else {
    http_response_code(404);
    echo '{}';
}
