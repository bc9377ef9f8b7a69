//! The headers of a request.

use ngx::ffi::{ngx_http_request_t, ngx_list_part_t, ngx_table_elt_t};

/// The first value of a header; `name` in lower case.
pub(super) fn value<'a>(request: &'a ngx_http_request_t, name: &[u8]) -> Option<&'a [u8]> {
    let mut next: *const ngx_list_part_t = &raw const request.headers_in.headers.part;
    // SAFETY: nginx links the parts of a list and ends them with null.
    while let Some(part) = unsafe { next.as_ref() } {
        let headers: &[ngx_table_elt_t] = if part.nelts == 0 {
            &[]
        } else {
            // SAFETY: nginx's list of headers holds ngx_table_elt_t, that many in this part.
            unsafe { std::slice::from_raw_parts(part.elts.cast(), part.nelts) }
        };
        let found = headers.iter().find(|header| header.key.as_bytes().eq_ignore_ascii_case(name));
        if let Some(header) = found {
            return Some(header.value.as_bytes());
        }
        next = part.next;
    }
    None
}
