# Three images, none with root:
#
#   docker build --target cutover .           Debian 12's nginx, the module and the daemon: docs/container.md
#   docker build --target operator .          the operator for Kubernetes: docs/kubernetes/installing.md
#   docker build --target ingress-module .    the module for ingress-nginx's controller: docs/kubernetes/ingress-nginx.md

# Both of one version, for the third.
ARG CONTROLLER=v1.11.0
ARG CONTROLLER_IMAGE=registry.k8s.io/ingress-nginx/controller:${CONTROLLER}

# --- the operator: a program, the libraries that it is linked with, certificates, and nothing else

FROM rust:1.95-bookworm AS build-operator
WORKDIR /cutover
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev
COPY . .
RUN cargo build --locked --release --package cutover-operator \
    && install -D -t /image/usr/local/bin target/release/cutover-operator \
    && ldd target/release/cutover-operator | grep -o '/[^ ]*' | xargs -I LIBRARY install -D LIBRARY /imageLIBRARY \
    && install -D -m 0644 -t /image/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt \
    && echo 'cutover:x:10001:10001::/:/sbin/nologin' >/image/etc/passwd

FROM scratch AS operator
COPY --from=build-operator /image /
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cutover-operator"]
CMD ["run", "--listen=0.0.0.0:8080"]

# --- the module for ingress-nginx's controller, built in the controller's own image, with its nginx and its musl

FROM rust:1.95-alpine AS rust-for-musl

FROM ${CONTROLLER_IMAGE} AS build-ingress-module
ARG CONTROLLER
# Without an address of its own: where these are mirrored.
ARG NGINX_SOURCES=https://nginx.org/download
ARG INGRESS_NGINX_SOURCES=https://github.com/kubernetes/ingress-nginx/archive/refs/tags
USER root
RUN apk add --no-cache bash build-base clang-dev curl jq linux-headers openssl-dev patch pcre-dev pcre2-dev tar zlib-dev
COPY --from=rust-for-musl /usr/local/rustup /usr/local/rustup
COPY --from=rust-for-musl /usr/local/cargo /usr/local/cargo
# A module is a shared library, and so is libclang.
ENV RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH RUSTFLAGS="-C target-feature=-crt-static"
WORKDIR /cutover
COPY scripts/build-ingress-module scripts/
COPY container/controllers.tsv container/
RUN mkdir /nginx /ingress-nginx \
    && scripts/build-ingress-module --controller "$CONTROLLER" --print >/known \
    && read -r version folder </known \
    && curl --fail --location --silent --show-error "$NGINX_SOURCES/nginx-$version.tar.gz" \
        | tar xz -C /nginx --strip-components 1 \
    && curl --fail --location --silent --show-error "$INGRESS_NGINX_SOURCES/controller-$CONTROLLER.tar.gz" \
        | tar xz -C /ingress-nginx --strip-components 1 \
    && mv "/ingress-nginx/$folder" /patches
COPY . .
RUN scripts/build-ingress-module --controller "$CONTROLLER" --nginx /usr/local/nginx/sbin/nginx \
        --source /nginx --patches /patches --out /out

# The controller's image again: each node that runs it has all but the last layer.
FROM ${CONTROLLER_IMAGE} AS ingress-module
COPY --from=build-ingress-module --chmod=0644 /out/ngx_http_cutover_module.so /usr/local/bin/
COPY --chmod=0755 container/init_module.sh /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/init_module.sh"]

# --- nginx, the module and the daemon

FROM rust:1.95-bookworm AS build
WORKDIR /cutover
COPY scripts/install-packages scripts/
RUN scripts/install-packages
COPY . .
RUN scripts/build-module debian \
    && cargo build --locked --release --package cutover \
    && install -D -t /out build/debian/ngx_http_cutover_module.so target/release/cutover

FROM debian:bookworm-slim AS cutover
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
