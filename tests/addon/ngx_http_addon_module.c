/* $addon is "there". */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static ngx_int_t ngx_http_addon_add_variable(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_addon_module_ctx = {
    ngx_http_addon_add_variable, NULL, NULL, NULL, NULL, NULL, NULL, NULL
};


ngx_module_t  ngx_http_addon_module = {
    NGX_MODULE_V1,
    &ngx_http_addon_module_ctx, NULL, NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_addon_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    v->len = sizeof("there") - 1;
    v->data = (u_char *) "there";
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_addon_add_variable(ngx_conf_t *cf)
{
    ngx_str_t             name = ngx_string("addon");
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_addon_variable;

    return NGX_OK;
}
