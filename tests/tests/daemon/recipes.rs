//! The recipes of docs/recipes: their files deploy real applications, good and bad, under load.
//!
//! No test has a systemd to talk to, so the applications run by the scripts of without-systemd.md. The files of systemd.md are
//! checked by the programs that read them on a host.

mod docker_compose;
mod grpc;
mod installed;
mod journey;
mod node;
mod pages;
mod php_fpm;
mod systemd;
mod uwsgi;
mod websocket;
mod without_systemd;
