//! Values that may hold variables.

use ngx::core::Pool;
use ngx::ffi::{
    ngx_conf_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value_t,
};

use crate::ext::{ConfExt, Logged};

/// Compiles a word of the directive that is being parsed, which may hold variables.
pub(super) fn compile(cf: &mut ngx_conf_t, word: usize) -> Result<*mut ngx_http_complex_value_t, Logged> {
    let mut value = cf.words().get(word).copied().ok_or(Logged)?;
    // SAFETY: the pool is the cycle's.
    let pool = unsafe { Pool::from_ngx_pool(cf.pool) };
    let compiled = pool.calloc_type::<ngx_http_complex_value_t>();
    if compiled.is_null() {
        return Err(Logged);
    }
    // SAFETY: plain data for which zeroes mean "not asked for"; nginx's own callers clear it the same way.
    let mut compile: ngx_http_compile_complex_value_t = unsafe { std::mem::zeroed() };
    compile.cf = cf;
    compile.value = &mut value;
    compile.complex_value = compiled;
    // SAFETY: all pointers live through the call; nginx logs what it refuses.
    if unsafe { ngx_http_compile_complex_value(&mut compile) } != 0 {
        return Err(Logged);
    }
    Ok(compiled)
}
