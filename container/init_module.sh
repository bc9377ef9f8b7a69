#!/bin/sh
# Runs in an init container of each Pod of ingress-nginx, as the user of the controller: places the module where nginx loads it
# from, and the folder of nginx's state. The chart of ingress-nginx calls it by this name (controller.extraModules).
set -eu

folder=${1:-/modules_mount}/cutover
here=$(dirname "$0")

mkdir -p "$folder"
# An nginx that runs may have the old file mapped: a new one is renamed into its place.
cp "$here/ngx_http_cutover_module.so" "$folder/ngx_http_cutover_module.so.new"
mv "$folder/ngx_http_cutover_module.so.new" "$folder/ngx_http_cutover_module.so"
# Who is in the group of the volume must not write to the state.
mkdir -p "$folder/state"
chmod 0700 "$folder/state"
