//! The recipes of docs/recipes: their files deploy real applications, good and bad, under load.
//!
//! The applications run by the scripts of without-systemd.md, and one of them also by a systemd of the test. The other files of
//! systemd.md are checked by the programs that read them on a host.

mod docker_compose;
mod grpc;
mod installed;
mod journey;
mod node;
mod own_systemd;
mod pages;
mod php_fpm;
mod systemd;
mod uwsgi;
mod websocket;
mod without_systemd;
