use std::io::ErrorKind;

use super::*;

#[test]
fn a_socket_that_is_not_for_this_user_is_no_daemon_that_is_down() {
    let said = |kind: ErrorKind| {
        ClientError::at_socket("/run/c.sock".as_ref(), HttpError::Connect(kind.into())).to_string()
    };
    let closed = said(ErrorKind::PermissionDenied);
    assert!(closed.starts_with("this user may not use the daemon's socket /run/c.sock"), "{closed}");
    for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
        let down = said(kind);
        assert!(down.ends_with("is `cutover serve` running?"), "{down}");
    }
}
