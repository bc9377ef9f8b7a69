<?php
// /srv/shop/front.php: runs the code of the slot whose PHP-FPM has got the request.
chdir(getenv('SHOP_ROOT') . '/public');
require getenv('SHOP_ROOT') . '/public/index.php';
