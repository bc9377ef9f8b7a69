//! docs/databases.md, word by word: its configuration, its files, its commands, and Alembic.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use cutover_tests::flavour::root;

use super::*;

fn page() -> String {
    fs::read_to_string(root().join("docs/databases.md")).unwrap()
}

/// The blocks of the page in this language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(its) = line.strip_prefix("```") else { continue };
        let block: String =
            lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        if its == language {
            blocks.push(block);
        }
    }
    blocks
}

/// A host whose groups are those of the page, with the folder of the test in place of /srv.
async fn host(sections: &str, more: &str) -> (TestHost, Backend, Backend) {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let nginx = Nginx::builder().http(HTTP).set("blue", blue.address()).set("green", green.address());
    let usual = GROUP.split_once("[group.shop.probe]").unwrap().1;
    let sections = sections.replace("/srv/", "%%folder%%/srv/");
    let groups = format!(
        "[group.shop]\nwarm = \"100ms\"\nretry_after = \"0s\"\n{more}\n{sections}\n[group.shop.probe]{usual}"
    );
    let host = TestHost::start(nginx, &groups).await.unwrap();
    (host, blue, green)
}

fn write(folder: &Path, file: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(file), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_files_and_commands() {
    let page = page();
    let database = Database::start(DatabaseKind::Sqlite).await.unwrap();
    let url = format!("env = {{ DATABASE_URL = \"{}\" }}", database.url());
    let (host, blue, green) = host(&blocks(&page, "toml")[0], &url).await;
    let shop = Shop { database, host, _blue: blue, green };
    let folder = shop.host.path("srv/shop/2.0/migrations");

    let files: Vec<String> = blocks(&page, "")[0]
        .split_whitespace()
        .filter(|word| word.ends_with(".sql"))
        .map(str::to_owned)
        .collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in &files {
        let table = if file.contains("stock") { "stock" } else { "gifts" };
        let text = match file.contains(".up.") {
            true => format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY);"),
            false => format!("DROP TABLE {table};"),
        };
        write(&folder, file, &text);
    }

    // The message of the page.
    let ended = shop.deploy_bad("2.0", "INSERT INTO gifts VALUES (1), (2)").await;
    ended.assert_ended("stuck", 5).unwrap();
    let said = messages(&ended);
    let shown =
        blocks(&page, "").into_iter().find(|block| block.starts_with("0002_gifts would drop")).unwrap();
    assert!(said.contains(&shown.trim().replace('\n', " ")), "{said}");
    shop.says(&advice(&said));

    // The commands of the table, in its order.
    let section = page.split_once("\n## By hand\n").unwrap().1.split_once("\n## ").unwrap().0;
    let commands = section.split("| `").skip(1).map(|row| row.split_once('`').unwrap().0).collect::<Vec<_>>();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = shop.host.daemon.cli(&words).unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match words[1] {
            "plan" => assert!(said.ends_with("apply  0001_stock\napply  0002_gifts\n"), "{said}"),
            "status" => assert!(said.ends_with("nothing is applied\n"), "{said}"),
            "migrate" => assert!(said.starts_with("applied 0001_stock, 0002_gifts "), "{said}"),
            // It was migrated by hand, so it asks.
            "revert" => {
                assert!(shop.says(&advice(&said)).starts_with("reverted 0002_gifts, 0001_stock "), "{said}")
            }
            "settle" => assert!(said.contains("migration 3 is not interrupted"), "{said}"),
            _ => panic!("{command}"),
        }
    }

    // The manifest, and every mark.
    write(&folder, "manifest.toml", &blocks(&page, "toml")[1]);
    let planned = shop.host.daemon.cli(&["database", "plan", "shop", "--version", "2.0"]).unwrap();
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        planned.contains("0001_stock.up.sql requires version 1.8..2.0 of what has the traffic"),
        "{planned}"
    );
    fs::remove_file(folder.join("manifest.toml")).unwrap();
    let marks: Vec<&str> =
        page.split("| `-- cutover: ").skip(1).map(|row| row.split_once('`').unwrap().0).collect();
    assert!(marks.len() >= 4, "{marks:?}");
    for mark in marks {
        write(&folder, "0002_gifts.down.sql", &format!("-- cutover: {mark}\nDROP TABLE gifts;"));
        let planned = shop.host.daemon.cli(&["database", "plan", "shop", "--version", "2.0"]).unwrap();
        assert!(planned.status.success(), "{mark}: {planned:?}");
    }

    // The same for a checkout.
    shop.says("cutover database migrate shop --version 2.0");
    let script = Command::new(root().join("scripts/db-rollback"))
        .args(["--config", &shop.host.daemon.config().display().to_string(), "shop"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&script.stderr).contains("which is no deployment of this daemon"),
        "{script:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alembic() {
    let page = page();
    let section = page.split_once("\n## Other tools\n").unwrap().1;
    let (host, _blue, green) = host(&blocks(section, "toml")[0], "").await;
    let srv = host.path("srv/shop");
    let script = blocks(section, "sh")[0].replace("/srv/", &format!("{}/", host.path("srv").display()));
    write(&srv, "alembic", &script);
    fs::set_permissions(srv.join("alembic"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(srv.join("revisions")).unwrap();
    let (project, file) = (srv.join("2.0"), host.path("shop.sqlite"));
    fs::create_dir_all(&project).unwrap();
    let init = Command::new("alembic").args(["init", "migrations"]).current_dir(&project).output().unwrap();
    assert!(init.status.success(), "{init:?}");
    let ini = fs::read_to_string(project.join("alembic.ini")).unwrap();
    let url = format!("sqlalchemy.url = sqlite:///{}", file.display());
    write(
        &project,
        "alembic.ini",
        &ini.replace("sqlalchemy.url = driver://user:pass@localhost/dbname", &url),
    );
    write(
        &project.join("migrations/versions"),
        "a1_gifts.py",
        "import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = \"a1\", None\n\
         def upgrade(): op.create_table(\"gifts\", sa.Column(\"id\", sa.Integer, primary_key=True))\n\
         def downgrade(): op.drop_table(\"gifts\")\n",
    );
    let has_gifts = || {
        let file = cutover_tests::site::Schema::tables(&file).unwrap();
        file.iter().any(|table| table == "gifts")
    };

    let users = host.users().unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2.0").unwrap();
    deployment.phase("soaking").await.unwrap();
    assert!(has_gifts());
    green.on("/health", Action::status(200));
    green.on("/", Action::status(500));
    let ended = deployment.finish().await.unwrap();
    ended.assert_ended("rolled_back", 4).unwrap();
    let said = messages(&ended);
    assert!(
        said.contains("what migrate will do:\nCREATE TABLE alembic_version (\nCREATE TABLE gifts ("),
        "{said}"
    );
    assert!(!has_gifts(), "{said}");

    // A good one, and another that finds nothing to apply.
    green.on("/", Action::status(200));
    host.deploy("2.0").await.unwrap().assert_ended("completed", 0).unwrap();
    assert!(has_gifts());
    let again = host.deploy("2.0").await.unwrap();
    assert!(messages(&again).contains("there was nothing to migrate"), "{again:?}");
    drop(users);
}
