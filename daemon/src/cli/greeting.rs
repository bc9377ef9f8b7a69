//! What `cutover dial-stdio` says to the command line at the other end of ssh.

/// The line before the first byte of the daemon. The number is the version of what follows.
pub(super) const GREETING: &str = "cutover dial-stdio 1";
/// Exit code if no daemon answers, as EX_UNAVAILABLE of sysexits.h.
pub(super) const NO_DAEMON: u8 = 69;
/// Exit code if this user may not use the socket, as EX_NOPERM of sysexits.h.
pub(super) const NOT_PERMITTED: u8 = 77;
