# The rule that makes the archive. cargo knows by itself whether anything has changed; nginx is linked anew only if it has.

case $NGX_OBJS in
    /*) ngx_cutover_objs=$NGX_OBJS ;;
    *)  ngx_cutover_objs=$PWD/$NGX_OBJS ;;
esac

if [ "$ngx_cutover_link" = DYNAMIC ]; then
    ngx_cutover_linked=$NGX_OBJS/ngx_http_cutover_module$ngx_modext
else
    ngx_cutover_linked=$NGX_OBJS/nginx$ngx_binext
fi

cat << END                                                    >> $NGX_MAKEFILE

$ngx_cutover_linked:	$ngx_cutover_lib

$ngx_cutover_lib:	ngx_cutover_always
	mkdir -p $NGX_OBJS/cutover
	target=\$\${CARGO_TARGET_DIR:-$ngx_cutover_objs/cutover/target}; \\
	env -u MAKEFLAGS NGINX_SOURCE_DIR="$PWD" NGINX_BUILD_DIR="$ngx_cutover_objs" CARGO_TARGET_DIR="\$\$target" \\
		cargo rustc --locked --profile module --manifest-path "$ngx_addon_dir/Cargo.toml" \\
		--lib --no-default-features --crate-type staticlib \\
	&& if ! cmp -s "\$\$target/module/libngx_http_cutover.a" \$@; then \\
		cp "\$\$target/module/libngx_http_cutover.a" \$@; \\
	fi

ngx_cutover_always:

.PHONY:	ngx_cutover_always

END
