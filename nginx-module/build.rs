//! Passes on what nginx was configured with, as cfg values.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES_CHECK");
    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values({}))",
        std::env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or("any()".to_owned())
    );
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    for feature in std::env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',') {
        println!("cargo::rustc-cfg=ngx_feature=\"{}\"", feature.trim());
    }
    // A worker that is told to end at once unloads its modules; a thread that still flushes must find its code there.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
