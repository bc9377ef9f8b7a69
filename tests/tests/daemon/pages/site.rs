//! One host of the pages about a site: nginx and the daemon, started by the examples.

use std::fs;
use std::path::PathBuf;

use cutover_tests::flavour::program;
use cutover_tests::{Nginx, process};

/// Ends the daemon that an example has started in this folder.
pub(super) struct End(pub(super) PathBuf);

impl Drop for End {
    fn drop(&mut self) {
        if let Ok(pid) = process::from_file(&self.0.join("daemon.pid")) {
            process::kill_now(&[pid]);
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.0.join("daemon.log")).unwrap_or_default());
        }
    }
}

/// The programs of the host: `systemctl` knows the two units of the pages.
pub(super) fn functions(nginx: &Nginx) -> String {
    let options: Vec<String> =
        nginx.options().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    format!(
        "here={here}
        nginx() {{ {program} {options} \"$@\"; }}
        cutover() {{ {cutover} --config $here/cutover.toml \"$@\"; }}
        wait_until() {{ for ((i = 0; i < 500; i++)); do if \"$@\" >/dev/null 2>&1; then return; fi; sleep 0.02; done; false; }}
        workers() {{ ps -o pid= --ppid $(cat $here/nginx.pid); }}
        is_ended() {{ ! kill -0 $1; }}
        systemctl() {{
            case \"$1 $2\" in
                'reload nginx')
                    local old=$(workers | head -1)
                    kill -HUP $(cat $here/nginx.pid)
                    wait_until eval \"! workers | grep -qx ' *$old' || ps -o args= -p $old | grep -q shutting\" ;;
                'start nginx') nginx ; wait_until test -s $here/nginx.pid ;;
                'stop nginx') nginx -s quit; while [ -e $here/nginx.pid ]; do sleep 0.02; done ;;
                'stop cutover')
                    local pid=$(cat $here/daemon.pid)
                    kill $pid
                    wait_until is_ended $pid ;;
                'start cutover')
                    {cutover} --config $here/cutover.toml serve >>$here/daemon.log 2>&1 </dev/null &
                    echo $! >$here/daemon.pid
                    wait_until test -S $here/cutover.sock
                    wait_until cutover status ;;
                'reload cutover') kill -HUP $(cat $here/daemon.pid) ;;
            esac
        }}",
        here = nginx.prefix().display(),
        program = nginx.flavour().nginx().display(),
        options = options.join(" "),
        cutover = program("cutover").unwrap().display(),
    )
}
