//! `[group.NAME.database]`: deployments that migrate a real database, and `cutover database`.

mod by_hand;
mod deployments;
mod killed;
mod page;

use std::fs;

use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::{Action, Backend, Database, DatabaseKind, Nginx, TestHost};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; }
    upstream shop_green { server %%green%%; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
    server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
";

const GROUP: &str = r#"
    [group.shop]
    warm = "100ms"
    retry_after = "0s"
    env = { DATABASE_URL = "%%url%%" }
    [group.shop.database]
    url = "env:DATABASE_URL"
    migrations = "%%folder%%/releases/{version}"
    lock_timeout = "1s"
    timeout = "30s"
    %%revert%%
    [group.shop.probe]
    path = "/health"
    interval = "50ms"
    deadline = "3s"
    [group.shop.soak]
    duration = "1500ms"
    interval = "50ms"
    min_requests = 5
    [group.shop.drain]
    deadline = "5s"
"#;

/// What version 1.0 needs.
const STOCK: [(&str, &str); 2] = [
    (
        "0001_stock.up.sql",
        "CREATE TABLE stock (id INTEGER PRIMARY KEY, name VARCHAR(40));\nINSERT INTO stock VALUES (1, 'tea');",
    ),
    ("0001_stock.down.sql", "DROP TABLE stock;"),
];

/// What later versions need beyond that.
const GIFTS: [(&str, &str); 4] = [
    ("0002_wrap.up.sql", "ALTER TABLE stock ADD COLUMN wrap INTEGER NOT NULL DEFAULT 0;"),
    ("0002_wrap.down.sql", "ALTER TABLE stock DROP COLUMN wrap;"),
    ("0003_gifts.up.sql", "CREATE TABLE gifts (id INTEGER PRIMARY KEY, name VARCHAR(40));"),
    ("0003_gifts.down.sql", "DROP TABLE gifts;"),
];

/// nginx, the daemon, two slots in the test process, and a database with what version 1.0 needs.
struct Shop {
    database: Database,
    host: TestHost,
    _blue: Backend,
    green: Backend,
}

impl Shop {
    async fn start(kind: DatabaseKind) -> Self {
        Self::start_with(kind, "").await
    }

    async fn start_with(kind: DatabaseKind, revert: &str) -> Self {
        let database = Database::start(kind).await.unwrap();
        let url = database.url();
        Self::over(database, &url, revert).await
    }

    async fn over(database: Database, url: &str, revert: &str) -> Self {
        let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
        let nginx = Nginx::builder().http(HTTP).set("blue", blue.address()).set("green", green.address());
        let groups = GROUP.replace("%%url%%", url).replace("%%revert%%", revert);
        let host = TestHost::start(nginx, &groups).await.unwrap();
        let shop = Self { database, host, _blue: blue, green };
        shop.publish("1.0", &[]);
        shop.host.run("cutover database migrate shop --version 1.0").unwrap();
        shop
    }

    /// Writes the folder of a version: the migrations of 1.0, and these.
    fn publish(&self, version: &str, files: &[(&str, &str)]) {
        let folder = self.host.path("releases").join(version);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in STOCK.iter().chain(files) {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    /// Deploys a version that answers its users with 5xx. `writes` runs while they are on it.
    async fn deploy_bad(&self, version: &str, writes: &str) -> Deployed {
        self.green.on("/", Action::status(200));
        let users = self.host.users().unwrap();
        let mut deployment = self.begin(version);
        deployment.phase("soaking").await.unwrap();
        if !writes.is_empty() {
            // The soak must not end before.
            self.host.run("cutover pause shop").unwrap();
            self.database.query(writes).unwrap();
        }
        self.green.on("/health", Action::status(200));
        self.green.on("/", Action::status(500));
        let ended = deployment.finish().await.unwrap();
        drop(users);
        ended
    }

    fn begin(&self, version: &str) -> Deployment {
        self.host.daemon.begin_deploy("shop", version).unwrap()
    }

    /// Names and stages of the records.
    fn records(&self) -> String {
        let found = self.database.query("SELECT name, stage FROM cutover_migrations ORDER BY position");
        found.unwrap().replace('\n', " ")
    }

    fn has_gifts(&self) -> bool {
        self.database.query("SELECT count(*) FROM gifts").is_ok()
    }

    /// What a command prints.
    fn says(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = self.host.daemon.cli(&words).unwrap();
        assert!(output.status.success(), "`{line}`: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Everything that a deployment has said.
fn messages(deployed: &Deployed) -> String {
    deployed.events.iter().map(|event| event.message.as_str()).collect::<Vec<_>>().join("\n")
}

/// The command after `type: `.
fn advice(text: &str) -> String {
    let begin = text.rfind("type: ").unwrap_or_else(|| panic!("no advice in {text}")) + "type: ".len();
    text[begin..].lines().next().unwrap().trim().to_owned()
}
