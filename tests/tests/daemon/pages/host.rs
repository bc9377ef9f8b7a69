//! The three hosts of the pages, and what each of them calls by the names of a real one.

use std::fs;
use std::path::PathBuf;

use cutover_tests::flavour::{Flavour, program};
use cutover_tests::page::{Block, Shell};
use cutover_tests::{Backend, Network, Nginx, Page, network, process};

/// The group of `paris` alone, with servers in place of its application.
const INTERN: &str = "
    server { listen 127.0.0.1:4000; return 204; }
    server { listen 127.0.0.1:4001; return 204; }
";

/// A short soak in place of that of the page.
const SOAK: &str = "duration = \"2s\"\ninterval = \"100ms\"";

/// The hosts, and the application in the namespace of the test.
pub(super) struct Hosts {
    pub(super) paris: Host,
    pub(super) lyon: Host,
    pub(super) nice: Host,
    _backends: Vec<Backend>,
}

/// One host. Drop ends the programs that the examples have started.
pub(super) struct Host {
    name: &'static str,
    _network: network::Host,
    /// Its nginx, which the examples start.
    pub(super) nginx: Nginx,
    /// Its shell, in the folder to which files are copied.
    pub(super) shell: Shell,
    /// The address of its site.
    pub(super) site: std::net::SocketAddr,
}

impl Hosts {
    /// Makes the hosts, and does there what docs/several-hosts.md says about certificates and nginx. `None` if this nginx has no
    /// TLS.
    pub(super) async fn set_up(network: &Network) -> Option<Self> {
        if !Flavour::from_env().unwrap().has_tls().unwrap() {
            println!("SKIPPED: this nginx has no TLS");
            return None;
        }
        let mut backends = Vec::new();
        for (slot, port) in [("blue", 3000), ("green", 3001)] {
            backends.push(Backend::start_at(slot, (Network::TEST, port).into()).await.unwrap());
        }
        let [paris, lyon, nice] =
            [("paris", 1), ("lyon", 2), ("nice", 3)].map(|(name, number)| Host::make(network, name, number));
        let hosts = Self { paris, lyon, nice, _backends: backends };
        let set_up = hosts.paris.page("docs/several-hosts.md").section("Set-up").unwrap();
        let [make, ..]: [String; 3] = set_up.blocks_of("sh").unwrap();
        hosts.paris.shell.run(&make).unwrap();
        for host in hosts.all() {
            for end in ["pem", "key", "token"] {
                hosts.copy(&format!("ca/{}.{end}", host.name), host);
            }
            hosts.copy("ca/ca.pem", host);
            host.install_nginx();
        }
        Some(hosts)
    }

    pub(super) fn all(&self) -> [&Host; 3] {
        [&self.paris, &self.lyon, &self.nice]
    }

    /// Copies a file of `paris` to a host, as an operator would with scp.
    pub(super) fn copy(&self, file: &str, to: &Host) {
        let from = self.paris.shell.folder.join(file);
        fs::copy(&from, to.shell.folder.join(from.file_name().unwrap())).unwrap();
    }
}

impl Host {
    fn make(network: &Network, name: &'static str, number: u8) -> Self {
        let network = network.host(number).unwrap();
        let [enter, namespace] = network.through();
        let nginx = Nginx::builder().through(&[&enter, &namespace]).workers(1).build().unwrap();
        // Where an nginx without the paths of a distribution writes its access log.
        fs::create_dir(nginx.prefix().join("logs")).unwrap();
        let files = nginx.prefix().join("files");
        fs::create_dir(&files).unwrap();
        let commands = nginx.prefix().join("commands");
        fs::create_dir(&commands).unwrap();
        for name in ["shop-start", "shop-stop", "intern-start", "intern-stop"] {
            std::os::unix::fs::symlink("/bin/true", commands.join(name)).unwrap();
        }
        let shell = Shell { through: vec![enter, namespace], ..Shell::new(&files, functions(name, &nginx)) };
        let site = (network.address(), 80).into();
        Self { name, _network: network, nginx, shell, site }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.nginx.prefix().join(name)
    }

    /// A page, with the paths of this host and the addresses of the test.
    pub(super) fn page(&self, name: &str) -> Page {
        self.here(Page::read(name).unwrap())
    }

    fn here(&self, page: Page) -> Page {
        let here = |name: &str| self.file(name).display().to_string();
        let names = [
            ("/etc/nginx/", here("")),
            ("/etc/cutover", here("etc")),
            ("/usr/local/bin/", here("commands/")),
            ("/var/lib/etcd", here("etcd")),
            ("/run/cutover/nginx.sock", here("admin.sock")),
            ("/run/nginx.pid", here("nginx.pid")),
            ("/var/log/nginx/", here("")),
            ("/var/lib/cutover;", format!("{};", here("state"))),
            ("modules/ngx_http_cutover_module.so", self.nginx.flavour().module().display().to_string()),
            ("worker_processes auto", "worker_processes 1".to_owned()),
            ("10.0.0.11", Network::TEST.to_string()),
            ("10.0.0.12", Network::TEST.to_string()),
            ("10.0.0.", "10.77.0.".to_owned()),
            // The name of a daemon is random.
            ("3f9a1c07", "..".to_owned()),
            ("/run/cutover/cutover.sock", "..".to_owned()),
        ];
        let text = names.iter().fold(page.text().to_owned(), |text, (name, here)| text.replace(name, here));
        Page::of(page.name(), &text)
    }

    /// Step 2 of docs/several-hosts.md.
    fn install_nginx(&self) {
        let set_up = self.page("docs/several-hosts.md").section("Set-up").unwrap();
        let mut conf = self.page("nginx-conf/remote.conf");
        if self.name == "paris" {
            let [intern] = set_up.blocks_of("nginx").unwrap();
            conf = conf.with("http {", format!("http {{\n{INTERN}{intern}")).unwrap();
        }
        fs::write(self.shell.folder.join("remote.conf"), conf.text()).unwrap();
        let [_, install, _] = set_up.blocks_of("sh").unwrap();
        let install = Page::of("step 2", &install).with("host=lyon", format!("host={}", self.name)).unwrap();
        self.shell.run(install.text()).unwrap();
    }

    /// Writes the daemon's configuration, with a socket and a folder of this host and a short soak.
    pub(super) fn configure(&self, text: &str) {
        let folder = self.nginx.prefix().display();
        let daemon = format!("[daemon]\nsocket = \"{folder}/cutover.sock\"\nstate = \"{folder}/daemon\"");
        let page = Page::of("the configuration", text).with("[daemon]", daemon).unwrap();
        let page = page.with("duration = \"5m\"", SOAK).unwrap();
        fs::write(self.file("cutover.toml"), page.text()).unwrap();
    }

    /// Runs an example of a terminal. Fails with what is different.
    pub(super) fn show(&self, block: &Block) {
        self.shell.session(block).unwrap_or_else(|error| panic!("on {}: {error:#}", self.name));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for program in ["daemon", "etcd"] {
            if let Ok(pid) = process::from_file(&self.file(&format!("{program}.pid"))) {
                process::kill_now(&[pid]);
            }
            if std::thread::panicking() {
                let log = fs::read_to_string(self.file(&format!("{program}.log"))).unwrap_or_default();
                eprintln!("{program} on {}:\n{log}", self.name);
            }
        }
    }
}

/// The examples of a terminal in a section, in order.
pub(super) fn consoles(page: &Page, section: &str) -> Vec<Block> {
    let blocks = page.section(section).unwrap().blocks().unwrap();
    blocks.into_iter().filter(|block| block.language == "console").collect()
}

/// The programs of a host: `systemctl` knows the units of the pages, the daemon runs as root, and etcd runs in the background.
/// Before an operator types `cutover status`, the first probes have ended.
fn functions(name: &str, nginx: &Nginx) -> String {
    let options: Vec<String> =
        nginx.options().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    format!(
        "here={here}
        nginx() {{ {program} {options} \"$@\"; }}
        wait_until() {{ for ((i = 0; i < 300; i++)); do if \"$@\" >/dev/null 2>&1; then return; fi; sleep 0.05; done; }}
        is_known() {{ {cutover} --config $here/cutover.toml status \"$1\" | grep -q 'is healthy since'; }}
        cutover() {{
            if [ \"$1\" = status ]; then wait_until is_known \"$2\"; fi
            {cutover} --config $here/cutover.toml \"$@\"
        }}
        etcd() {{ command etcd \"$@\" >>$here/etcd.log 2>&1 </dev/null & echo $! >$here/etcd.pid; }}
        install() {{
            local words=()
            while (($#)); do if [ \"$1\" = -g ]; then shift 2; else words+=(\"$1\"); shift; fi; done
            command install \"${{words[@]}}\"
        }}
        systemctl() {{
            case \"$1 ${{*: -1}}\" in
                'restart nginx' | 'stop nginx')
                    if [ -s $here/nginx.pid ]; then
                        nginx -s quit
                        while [ -e $here/nginx.pid ]; do sleep 0.02; done
                    fi ;;&
                'restart nginx') nginx ;;
                'kill cutover') kill -KILL $(cat $here/daemon.pid) ;;
                'start cutover')
                    unshare --uts bash -c 'echo {name} >/proc/sys/kernel/hostname; exec \"$@\"' _ \\
                        {cutover} --config $here/cutover.toml serve >>$here/daemon.log 2>&1 </dev/null &
                    echo $! >$here/daemon.pid
                    wait_until {cutover} --config $here/cutover.toml status ;;
            esac
        }}",
        here = nginx.prefix().display(),
        program = nginx.flavour().nginx().display(),
        options = options.join(" "),
        cutover = program("cutover").unwrap().display(),
    )
}
