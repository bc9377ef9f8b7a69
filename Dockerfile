# One image with Debian 12's nginx, the module and the daemon, without root: see docs/container.md.

FROM rust:1.95-bookworm AS build
WORKDIR /cutover
COPY scripts/install-packages scripts/
RUN scripts/install-packages
COPY . .
RUN scripts/build-module debian \
    && cargo build --locked --release --package cutover \
    && install -D -t /out build/debian/ngx_http_cutover_module.so target/release/cutover

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends nginx \
    && rm -rf /var/lib/apt/lists/* /var/log/nginx/* \
    && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin cutover \
    && install -d -m 0700 -o cutover -g cutover \
        /run/cutover /var/lib/cutover /var/lib/cutover-daemon /var/lib/nginx /var/log/nginx
COPY --from=build --chmod=0644 /out/ngx_http_cutover_module.so /usr/share/nginx/modules/
COPY --from=build --chmod=0755 /out/cutover /usr/local/bin/
COPY --chmod=0644 LICENSE licences/ /usr/share/doc/cutover/
COPY --chmod=0755 container/entrypoint /usr/local/bin/cutover-entrypoint
COPY --chmod=0644 container/nginx.conf container/cutover.toml /etc/cutover/

USER cutover
EXPOSE 8080
# The configuration, nginx's state file, the journal of the deployments.
VOLUME ["/etc/cutover", "/var/lib/cutover", "/var/lib/cutover-daemon"]
# Asks the daemon, and the daemon asks nginx.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["cutover-entrypoint", "health"]
ENTRYPOINT ["cutover-entrypoint"]
CMD ["all"]
